package explain

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// before4 is what IPv4 decides before it asks any rule (ip_route_output_key_hash_rcu of net/ipv4/route.c).
func (w *walker) before4() (decided bool) {
	f := &w.flow
	out, _ := w.db.Link(f.OIF)
	switch {
	case f.IIF != 0:
		return false
	case f.Src.IsValid() && !w.local4(f.Src):
		return w.decided(Outcome{Errno: syscall.ENETUNREACH, Reason: "the source address is not one of this host's"},
			fmt.Sprintf("%s is no address of this host: it cannot send from it", f.Src))
	case f.OIF == 0:
		return false
	case !out.Up:
		return w.decided(Outcome{Errno: syscall.ENETUNREACH, Reason: "the device is down"}, w.nameOf(out.Index)+" is down")
	case f.Dst.IsLinkLocalMulticast() || f.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return w.decided(w.onLink("the device is given, and the destination is on every link"), "no rule is asked")
	}
	return false
}

func (w *walker) decided(o Outcome, before string) bool {
	w.walk.Before = before
	w.end(o)
	return true
}

// onLink is an end without a route: the destination itself is taken for a neighbor.
func (w *walker) onLink(reason string) Outcome {
	return Outcome{Reason: reason, Hops: []rpdb.Hop{{OIF: w.flow.OIF, Weight: 1}}}
}

// local4 is __ip_dev_find: an address of this host, or one that table local holds to be.
func (w *walker) local4(a netip.Addr) bool {
	for _, own := range w.db.Addresses {
		if own.Prefix.Addr() == a {
			return true
		}
	}
	for _, r := range w.covering(rpdb.TableLocal, a) {
		return r.Type == rpdb.Local
	}
	return false
}

// after4 is what IPv4 makes of what rules and routes gave.
func (w *walker) after4() {
	f := &w.flow
	for i := range w.walk.Outcomes {
		o := &w.walk.Outcomes[i]
		switch {
		case o.Errno != 0 && f.IIF != 0 && !w.db.Forwarding:
			w.walk.After = fmt.Sprintf("%s does not forward (net.ipv4.conf.%[1]s.forwarding = 0)", w.nameOf(f.IIF))
			o.Errno = syscall.EHOSTUNREACH
		case o.Errno != 0 && f.oif != 0 && (f.vrf == 0 || f.Dst.IsMulticast()):
			w.walk.After = fmt.Sprintf("no route (%s), but the socket is bound to %s: IPv4 then takes the destination for a "+
				"neighbor on that link, whatever the tables say", o.Reason, w.nameOf(f.oif))
			*o = w.onLink("assumed to be on the link")
		case o.Errno == 0 && f.IIF != 0 && !w.db.Forwarding && o.Route.Type == rpdb.Unicast:
			w.walk.After = fmt.Sprintf("%s does not forward (net.ipv4.conf.%[1]s.forwarding = 0)", w.nameOf(f.IIF))
			*o = Outcome{Errno: syscall.EHOSTUNREACH, Route: o.Route, Reason: "this host does not forward"}
		case o.Errno == 0 && f.IIF != 0 && o.Route.Type == rpdb.Multicast:
			*o = Outcome{Errno: syscall.EINVAL, Route: o.Route, Reason: "not to be forwarded"}
		}
	}
}
