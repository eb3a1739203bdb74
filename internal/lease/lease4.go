package lease

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// errNoRoute says that option 121 holds nothing: RFC 3442 wants 5 octets at least.
var errNoRoute = errors.New("no route in it")

// spelling is one form in which a client gives option 121: the key, and how its value is read.
type spelling struct {
	key    string
	routes func(string) ([]Route, error)
	// empty says that the key is set, without a value, where the option was there and the client could make nothing of it.
	// Otherwise no value is no option.
	empty bool
}

// keys4 are the keys under which a client gives what an IPv4 lease holds; empty where it has no such key.
type keys4 struct {
	address   string
	mask      string // as in 255.255.255.0; it counts before bits
	bits      string // the prefix length
	routers   string
	dns       string
	mtu       string
	lifetime  string
	classless []spelling // the first that is there counts
}

// bind4 reads the one IPv4 lease that a DHCP client holds on a link.
func bind4(in Input, k keys4, ev *Event, p *problems) {
	addr, err := inet.unicast(in.Env[k.address])
	if err != nil {
		p.addf("leased address %s: %v", quote(in.Env[k.address]), err)
		ev.ignore("no usable address")
		return
	}
	ev.Verb, ev.Sole = Bind, true
	ev.Lease = Lease{
		Source:   ev.Source,
		Address:  addr,
		Bits:     bits4(in, k, p),
		MTU:      mtu(in.Env[k.mtu], p),
		Lifetime: lifetime("lease time", in.Env[k.lifetime], p),
	}
	inet.dns(in, k.dns, ev, p)
	gateways4(in, k, ev, p)
}

// bits4 is the subnet's prefix length. The mask goes first: udhcpc counts the ones of a mask that is none as well.
func bits4(in Input, k keys4, p *problems) int {
	if mask := in.Env[k.mask]; mask != "" {
		return maskBits(mask, p)
	}
	return inet.prefixLen(in.Env[k.bits], p)
}

// gateways4 reads option 121, or where it is absent the router option (RFC 3442), into a lease with its address.
func gateways4(in Input, k keys4, ev *Event, p *problems) {
	own := netip.PrefixFrom(ev.Lease.Address, ev.Lease.Bits)
	if present := classless4(in, k.classless, own, ev, p); present {
		return
	}
	if in.refused(k.routers) {
		p.addf("%s: too long", k.routers)
		ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
		return
	}
	check := func(r netip.Addr) error { return checkRouter(r, own) }
	routers, whole := inet.addrs("router", in.Env[k.routers], MaxRouters, check, p)
	ev.Lease.Routers = routers
	ev.Lease.Refused = len(routers) == 0 && strings.TrimSpace(in.Env[k.routers]) != ""
	if !whole {
		ev.Keep |= KeepGateways
	}
}

// classless4 reads option 121, in whichever of its spellings it is there, and says whether it is. A malformed one counts
// as present: the client said that its routers are to be ignored.
func classless4(in Input, spellings []spelling, own netip.Prefix, ev *Event, p *problems) (present bool) {
	for _, s := range spellings {
		if in.refused(s.key) {
			p.addf("%s: too long", s.key)
			ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
			return true
		}
		text, set := in.Env[s.key]
		if !set || text == "" && !s.empty {
			continue
		}
		routes, err := s.routes(text)
		if err == nil && len(routes) == 0 {
			err = errNoRoute
		}
		setClassless(text, routes, err, own, ev, p)
		return true
	}
	return false
}

// setClassless puts the routes of option 121 into the lease, or says why not.
func setClassless(text string, routes []Route, err error, own netip.Prefix, ev *Event, p *problems) {
	switch {
	case err != nil:
		p.addf("option 121 %s: %v: refused, no default", quote(text), err)
		ev.Lease.Refused = true
	case len(routes) > MaxRoutes:
		p.addf("option 121: %d routes, at most %d are taken: all refused", len(routes), MaxRoutes)
		ev.Keep, ev.Lease.Refused = ev.Keep|KeepGateways, true
	default:
		ev.Lease.HasClassless = true
		ev.Lease.Classless = checkRoutes(routes, own, p)
		named := slices.ContainsFunc(routes, func(r Route) bool { return r.Dst.Bits() == 0 })
		ev.Lease.Refused = named && len(ev.Lease.Gateways()) == 0
	}
}

// remove4 reads the end of the one IPv4 lease, whose address is under a key. There is one on a link, so one whose address
// cannot be read means that.
func remove4(in Input, key string, ev *Event, p *problems) {
	old := in.Env[key]
	addr, err := inet.addr(old)
	if err != nil {
		if old != "" {
			p.addf("old address %s: %v", quote(old), err)
		}
		ev.Verb = RemoveAll
		return
	}
	ev.Verb, ev.Address = Remove, addr
}
