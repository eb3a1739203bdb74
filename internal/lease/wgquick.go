package lease

// parseWGQuick understands the lines that hooks/README.md gives for wg-quick(8), in which the first argument is ours and the
// second the interface: there is no data in them.
func parseWGQuick(in Input, ev *Event, _ *problems) {
	ev.Reason = plain(in.arg(0))
	switch in.arg(0) {
	case "up":
		ev.Verb = Resync
	case "down":
		ev.Verb = RemoveAll
	default:
		ev.ignore("neither up nor down")
	}
}
