package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ClientGeneric is the client whose calls are written by people. Its sources begin with its name, so that none of them is
// another client's.
const ClientGeneric = "generic"

// parseGeneric understands the options of "uplink-hook generic", for a client that has no parser. A person wrote the line, so
// it is taken whole or not at all, and the first mistake is named.
func parseGeneric(in Input, ev *Event, p *problems) {
	g := generic{lease: Lease{Bits: -1}}
	err := g.parse(in)
	ev.Source = ClientGeneric
	if g.source != "" {
		ev.Source = Source(ClientGeneric + "-" + g.source)
	}
	ev.Reason = "add"
	if g.remove {
		ev.Reason = "remove"
	}
	switch {
	case err != nil:
		ev.ignore(err.Error())
		p.addf("%s", err)
	case g.remove && g.lease.Address.IsValid():
		ev.Verb, ev.Address = Remove, g.lease.Address
	case g.remove:
		ev.Verb = RemoveAll
	default:
		g.lease.Source = ev.Source
		ev.Verb, ev.Lease = Bind, g.lease
	}
}

// generic is what the options said so far.
type generic struct {
	seen   map[string]int
	lease  Lease
	source string
	remove bool

	// what is checked against the address, which may come last
	gateways, routes []string
}

// parse reads all options and then checks what depends on the address.
func (g *generic) parse(in Input) error {
	if slices.ContainsFunc(in.Refused, func(what string) bool { return strings.HasPrefix(what, "$") }) {
		return errors.New("an argument is too long")
	}
	g.seen = make(map[string]int)
	for args := in.Args; len(args) > 0; {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		switch {
		case !strings.HasPrefix(name, "--"):
			return fmt.Errorf("%s: not an option", quote(name))
		case name == "--remove" && joined:
			return errors.New("--remove takes no value")
		case name != "--remove" && !joined && len(args) == 0:
			return fmt.Errorf("%s: no value", quote(name))
		case name != "--remove" && !joined:
			value, args = args[0], args[1:]
		}
		if err := g.option(name, value); err != nil {
			return err
		}
	}
	return g.finish()
}

// option takes one option.
func (g *generic) option(name, value string) (err error) {
	g.seen[name]++
	switch name {
	case "--gateway":
		g.gateways = append(g.gateways, value)
		return nil
	case "--route":
		g.routes = append(g.routes, value)
		return nil
	case "--dns":
		return g.dns(value)
	}
	if g.seen[name] > 1 {
		return fmt.Errorf("%s: more than once", quote(name))
	}
	switch name {
	case "--interface": // hookwire has found it
	case "--address":
		err = g.address(value)
	case "--delegated":
		err = g.delegated(value)
	case "--mtu":
		err = number(name, value, minMTU, maxMTU, func(n int64) { g.lease.MTU = int(n) })
	case "--lifetime":
		err = number(name, value, 1, 1<<32-1, g.lifetime)
	case "--source":
		err = g.setSource(value)
	case "--remove":
		g.remove = true
	default:
		err = fmt.Errorf("%s: unknown option", quote(name))
	}
	return err
}

// finish checks what the options say together.
func (g *generic) finish() error {
	switch {
	case g.seen["--interface"] == 0:
		return errors.New("--interface: missing")
	case g.seen["--address"] > 0 && g.seen["--delegated"] > 0:
		return errors.New("--delegated: not together with --address")
	case !g.remove && !g.lease.Address.IsValid():
		return errors.New("--address: missing")
	case g.remove:
		return g.without("--remove", "--gateway", "--route", "--dns", "--mtu", "--lifetime")
	case g.lease.Delegated: // it goes where the addresses of its link go
		return g.without("--delegated", "--gateway", "--route", "--dns", "--mtu")
	}
	own := netip.PrefixFrom(g.lease.Address, g.lease.Bits)
	for _, gw := range g.gateways {
		if err := g.gateway(gw, own); err != nil {
			return fmt.Errorf("--gateway %s: %w", quote(gw), err)
		}
	}
	for _, r := range g.routes {
		if err := g.route(r, own); err != nil {
			return fmt.Errorf("--route %s: %w", quote(r), err)
		}
	}
	return nil
}

// without refuses options that make no sense beside another one.
func (g *generic) without(option string, names ...string) error {
	for _, name := range names {
		if g.seen[name] > 0 {
			return fmt.Errorf("%s: not together with %s", name, option)
		}
	}
	return nil
}

func (g *generic) delegated(s string) error {
	p, err := delegatedPrefix(s)
	if err != nil {
		return fmt.Errorf("--delegated %s: %w", quote(s), err)
	}
	g.lease.Address, g.lease.Prefix, g.lease.Delegated, g.lease.Bits = p.Addr(), p, true, p.Bits()
	return nil
}

func (g *generic) address(s string) error {
	text, length, sliced := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return fmt.Errorf("--address %s: not an address", quote(s))
	}
	if err := checkUnicast(a); err != nil {
		return fmt.Errorf("--address %s: %w", quote(s), err)
	}
	if sliced {
		n, err := strconv.Atoi(length)
		if err != nil || n < 1 || n > a.BitLen() {
			return fmt.Errorf("--address %s: the prefix length is not from 1 to %d", quote(s), a.BitLen())
		}
		g.lease.Bits = n
	}
	g.lease.Address = a
	return nil
}

func (g *generic) gateway(s string, own netip.Prefix) error {
	r, err := g.family().addr(s)
	if err == nil {
		err = checkRouter(r, own)
	}
	if err == nil && len(g.lease.Routers) == MaxRouters {
		err = fmt.Errorf("more than %d", MaxRouters)
	}
	g.lease.Routers = append(g.lease.Routers, r)
	return err
}

// route reads "DST,GW". A route is for what the configuration allows of them, as a pushed one is.
func (g *generic) route(s string, own netip.Prefix) error {
	text, via, ok := strings.Cut(s, ",")
	dst, err := netip.ParsePrefix(text)
	if !ok || err != nil {
		return errors.New("not in the form PREFIX,GATEWAY")
	}
	gw, err := g.family().addr(via)
	switch {
	case err != nil:
		return err
	case dst.Addr().Is4() != own.Addr().Is4() || dst.Addr().Is4In6():
		return errors.New("not a network of the address's family")
	case dst.Bits() == 0:
		return errors.New("a default route: say --gateway")
	case len(g.lease.Classless) == MaxRoutes:
		return fmt.Errorf("more than %d", MaxRoutes)
	}
	r := Route{Dst: dst.Masked(), Gateway: gw}
	g.lease.Classless = append(g.lease.Classless, r)
	return checkLinkRoute(r, own)
}

func (g *generic) family() family {
	if g.lease.Address.Is4() {
		return inet
	}
	return inet6
}

func (g *generic) dns(s string) error {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "" || a.Is4In6():
		err = errors.New("not an address")
	case len(g.lease.DNS) == MaxDNS:
		err = fmt.Errorf("more than %d", MaxDNS)
	default:
		err = checkUnicast(a)
	}
	if err != nil {
		return fmt.Errorf("--dns %s: %w", quote(s), err)
	}
	g.lease.DNS = append(g.lease.DNS, a)
	return nil
}

func number(name, s string, least, most int64, set func(int64)) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%s %s: not from %d to %d", name, quote(s), least, most)
	}
	set(n)
	return nil
}

// lifetime takes a number of seconds; all ones are for ever, as in DHCP.
func (g *generic) lifetime(n int64) {
	g.lease.Lifetime = time.Duration(n) * time.Second
	if n == 1<<32-1 {
		g.lease.Lifetime = Infinite
	}
}

// maxSource is how long a name may be that a source is given.
const maxSource = 15

func (g *generic) setSource(s string) error {
	if s == "" || len(s) > maxSource || plain(s) != s {
		return fmt.Errorf("--source %s: not 1 to %d of a-z, 0-9 and -", quote(s), maxSource)
	}
	g.source = s
	return nil
}
