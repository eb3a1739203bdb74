package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// hops are what a script may say of routes with several next hops, and of nexthop objects.
//
//	nexthop add|replace|del id N [via ADDR] dev DEV, or id N group N,N
//	nhid N TEXT                     as "ip route add TEXT nhid N"
//	multipath DST ADDR DEV ADDR DEV...  as "ip route add DST nexthop via ADDR dev DEV ..."
//	bare                            the kernel lists nexthop objects with their routes, and not what these lead to
func (s *script) hops(command string, args []string) error {
	switch command {
	case "nexthop":
		return s.w.Nexthop(args[0], strings.Join(args[1:], " "))
	case "nhid":
		id, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil {
			return err
		}
		return s.w.RouteByNexthop(strings.Join(args[1:], " "), uint32(id))
	case "multipath":
		var hops []string
		for pair := range slices.Chunk(args[1:], 2) {
			hops = append(hops, fmt.Sprintf("via %s dev %s", pair[0], pair[1]))
		}
		return s.w.Multipath(args[0], hops...)
	}
	if w, ok := s.w.(*realWorld); ok {
		return w.host.Sysctl("net/ipv4/nexthop_compat_mode", "0")
	}
	return nil // the kernel in memory knows the next hops, however they are listed
}

func (w *realWorld) Nexthop(verb, text string) error { return w.host.Nexthop(verb, text) }
func (w *realWorld) RouteByNexthop(text string, id uint32) error {
	return w.host.RouteByNexthop(text, id)
}
func (w *realWorld) Multipath(text string, hops ...string) error {
	return w.host.Multipath(text, hops...)
}

// Nexthop parses what is behind the number as a route's next hop.
func (w fakeWorld) Nexthop(verb, text string) error {
	words := strings.Fields(text)
	id, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil {
		return err
	}
	switch {
	case verb == "del":
		return w.DelNexthop(uint32(id))
	case words[2] == "group":
		var members []uint32
		for member := range strings.SplitSeq(words[3], ",") {
			n, err := strconv.ParseUint(member, 10, 32)
			if err != nil {
				return err
			}
			members = append(members, uint32(n))
		}
		return w.PutNexthop(uint32(id), rpdb.Route{}, members...)
	}
	r, err := testnet.ParseRoute("default "+strings.Join(words[2:], " "), w.Index)
	if err != nil {
		return err
	}
	return w.PutNexthop(uint32(id), r)
}

func (w fakeWorld) RouteByNexthop(text string, id uint32) error {
	r, err := testnet.ParseRoute(text, w.Index)
	if err != nil {
		return err
	}
	r.Scope = rpdb.ScopeUniverse
	return w.PutRouteBy(r, id)
}

func (w fakeWorld) Multipath(text string, hops ...string) error {
	var routes []rpdb.Route
	for _, hop := range hops {
		r, err := testnet.ParseRoute(text+" "+hop, w.Index)
		if err != nil {
			return err
		}
		routes = append(routes, r)
	}
	return w.PutMultipath(routes)
}
