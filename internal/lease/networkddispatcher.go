package lease

// parseNetworkdDispatcher understands networkd-dispatcher(8). It is called some time after a link came to a state, in a line
// with the scripts of all other links, so what it says of addresses is no news: the kernel is looked at.
func parseNetworkdDispatcher(in Input, ev *Event, _ *problems) {
	ev.Reason, ev.Verb = plain(in.Env["STATE"]), Resync
}
