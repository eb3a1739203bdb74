package fakekernel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// AddLink adds a link, up and with a carrier unless it is said otherwise later. Its index and its type are the kernel's to give
// where it has none.
func (k *Kernel) AddLink(l rpdb.Link) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.Index == 0 {
		k.index++
		l.Index = k.index
	}
	if l.Type == 0 {
		l.Type = unix.ARPHRD_ETHER
	}
	l.Up, l.Carrier, l.MTU = true, true, 1500
	k.links = append(k.links, l)
	k.emit(rpdb.Event{Links: true})
	return l.Index
}

// Index gives a link's index by its name.
func (k *Kernel) Index(name string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(name)
	if err != nil {
		return 0, err
	}
	return k.links[i].Index, nil
}

func (k *Kernel) find(name string) (int, error) {
	i := slices.IndexFunc(k.links, func(l rpdb.Link) bool { return l.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("link %q: %w", name, unix.ENODEV)
	}
	return i, nil
}

// change does something to a link and tells of it.
func (k *Kernel) change(name string, do func(l *rpdb.Link)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(name)
	if err != nil {
		return err
	}
	do(&k.links[i])
	k.emit(rpdb.Event{Links: true})
	return nil
}

// Rename gives a link another name. Rules keep the old one.
func (k *Kernel) Rename(name, to string) error {
	return k.change(name, func(l *rpdb.Link) { l.Name = to })
}

// Enslave puts a link into a bridge or VRF, or takes it out of one: master 0.
func (k *Kernel) Enslave(name string, master int) error {
	return k.change(name, func(l *rpdb.Link) { l.Master = master })
}

// Carrier plugs a cable in or out. Routes stay.
func (k *Kernel) Carrier(name string, on bool) error {
	return k.change(name, func(l *rpdb.Link) { l.Carrier = on })
}

// Up sets a link up: the routes to its IPv4 subnets come back, and no others.
func (k *Kernel) Up(name string) error {
	return k.change(name, func(l *rpdb.Link) {
		l.Up, l.Carrier = true, true
		for _, a := range k.addrs {
			if a.Link == l.Index {
				k.connect(a)
			}
		}
	})
}

// Down sets a link down: IPv4 routes by it vanish from every table without an event, its IPv6 addresses and routes with
// one (measured: KERNEL-FACTS 1). IPv4 addresses and all rules stay.
func (k *Kernel) Down(name string) error {
	return k.change(name, func(l *rpdb.Link) {
		l.Up, l.Carrier = false, false
		k.detach(l.Index, func(a rpdb.Address) bool { return !a.Prefix.Addr().Is4() })
	})
}

// Delete removes a link with all its addresses and routes.
func (k *Kernel) Delete(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(name)
	if err != nil {
		return err
	}
	k.detach(k.links[i].Index, func(rpdb.Address) bool { return true })
	k.forget(k.links[i].Index)
	k.links = slices.Delete(k.links, i, i+1)
	k.emit(rpdb.Event{Links: true, Addresses: true})
	return nil
}

// detach removes a link's routes, and those of its addresses that go with them.
func (k *Kernel) detach(index int, goes func(rpdb.Address) bool) {
	k.deleteRoute(func(r rpdb.Route) bool { return r.OIF == index })
	n := len(k.addrs)
	k.addrs = slices.DeleteFunc(k.addrs, func(a rpdb.Address) bool { return a.Link == index && goes(a) })
	if len(k.addrs) != n {
		k.emit(rpdb.Event{Addresses: true, Routes: true})
	}
}

// Addr adds an address, and the route to its subnet to table main.
func (k *Kernel) Addr(dev, cidr string) error { return k.addAddr(dev, cidr, "") }

// Peer adds an address with another end.
func (k *Kernel) Peer(dev, addr, peer string) error { return k.addAddr(dev, addr, peer) }

func (k *Kernel) addAddr(dev, cidr, peer string) error {
	a, err := parseAddress(cidr, peer)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(dev)
	if err != nil {
		return err
	}
	a.Link = k.links[i].Index
	if slices.ContainsFunc(k.addrs, func(o rpdb.Address) bool { return o.Link == a.Link && o.Prefix == a.Prefix && o.Peer == a.Peer }) {
		return unix.EEXIST
	}
	k.addrs = append(k.addrs, a)
	if k.links[i].Up {
		k.connect(a)
	}
	k.emit(rpdb.Event{Addresses: true})
	return nil
}

func parseAddress(cidr, peer string) (rpdb.Address, error) {
	var a rpdb.Address
	p, err := parsePrefix(cidr)
	if err != nil {
		return a, err
	}
	a.Prefix = p
	if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
		a.Scope = rpdb.ScopeLink
	}
	if peer != "" {
		a.Peer, err = parsePrefix(peer)
	}
	return a, err
}

func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return rpdb.HostPrefix(a), nil
	}
	return netip.ParsePrefix(text)
}

// connect adds the kernel's own route to the subnet of an address.
func (k *Kernel) connect(a rpdb.Address) {
	dst := a.Prefix.Masked()
	if a.Peer.IsValid() {
		dst = a.Peer.Masked()
	}
	if dst.IsSingleIP() && !a.Peer.IsValid() && dst.Addr().Is4() {
		return
	}
	r := rpdb.Route{RouteKey: rpdb.RouteKey{Table: rpdb.TableMain, Dst: dst}, Type: rpdb.Unicast, OIF: a.Link, Protocol: rpdb.ProtoKernel}
	if dst.Addr().Is4() {
		r.Scope, r.Src = rpdb.ScopeLink, a.Prefix.Addr()
	} else {
		r.Metric = 256
	}
	if !slices.ContainsFunc(k.routes, func(o rpdb.Route) bool { return o.RouteKey == r.RouteKey && o.OIF == r.OIF }) {
		k.routes = append(k.routes, r)
	}
}

// DelAddr removes an address. With the last IPv4 one of a link all its IPv4 routes vanish without an event; with
// another only those in main that had it as their source. An IPv6 one takes its subnet's route with it.
func (k *Kernel) DelAddr(dev, cidr string) error {
	p, err := parsePrefix(cidr)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(dev)
	if err != nil {
		return err
	}
	index := k.links[i].Index
	at := slices.IndexFunc(k.addrs, func(a rpdb.Address) bool { return a.Link == index && a.Prefix == p })
	if at < 0 {
		return unix.EADDRNOTAVAIL
	}
	for _, gone := range k.withSecondaries(at) {
		k.addrs = slices.DeleteFunc(k.addrs, func(a rpdb.Address) bool { return a == gone })
		k.disconnect(gone)
	}
	k.emit(rpdb.Event{Addresses: true})
	return nil
}

// withSecondaries is an address and those that go with it: the first IPv4 address of a subnet on a link takes the others
// of the subnet along, unless these are promoted (off by default). The secondaries go first.
func (k *Kernel) withSecondaries(at int) []rpdb.Address {
	primary := k.addrs[at]
	same := func(a rpdb.Address) bool {
		return a.Link == primary.Link && a.Prefix.Masked() == primary.Prefix.Masked() && a.Prefix.Addr().Is4() && !a.Peer.IsValid()
	}
	if !same(primary) || slices.IndexFunc(k.addrs, same) != at || k.promote[primary.Link] {
		return []rpdb.Address{primary}
	}
	var all []rpdb.Address
	for _, a := range k.addrs[at+1:] {
		if same(a) {
			all = append(all, a)
		}
	}
	return append(all, primary)
}

func (k *Kernel) disconnect(gone rpdb.Address) {
	family := rpdb.FamilyOf(gone.Prefix.Addr())
	last := !slices.ContainsFunc(k.addrs, func(a rpdb.Address) bool {
		return a.Link == gone.Link && rpdb.FamilyOf(a.Prefix.Addr()) == family
	})
	k.deleteRoute(func(r rpdb.Route) bool {
		if r.OIF != gone.Link || r.Family() != family {
			return false
		}
		own := r.Table == rpdb.TableMain && r.Protocol == rpdb.ProtoKernel &&
			(r.Dst == gone.Prefix.Masked() || gone.Peer.IsValid() && r.Dst == gone.Peer.Masked())
		sourced := r.Table == rpdb.TableMain && r.Src == gone.Prefix.Addr()
		return own || sourced || last && family == rpdb.IPv4
	})
	for _, a := range k.addrs {
		if a.Link == gone.Link {
			k.connect(a)
		}
	}
}

// PutRoute adds a route of somebody else's, or replaces one.
func (k *Kernel) PutRoute(r rpdb.Route, replace bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.putRoute(r, replace); err != nil {
		return err
	}
	k.emit(rpdb.Event{Routes: true})
	return nil
}

// DelRoute removes the first route with the key of r, and with its protocol, next hop and link where those are given.
func (k *Kernel) DelRoute(r rpdb.Route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.routes, func(o rpdb.Route) bool {
		return o.Table == r.Table && o.Dst == r.Dst && (r.Metric == 0 || o.Metric == r.Metric) && (r.Protocol == 0 || o.Protocol == r.Protocol) &&
			(!r.Via.IsValid() || o.Via == r.Via) && (r.OIF == 0 || o.OIF == r.OIF)
	})
	if i < 0 {
		return unix.ESRCH
	}
	k.routes = slices.Delete(k.routes, i, i+1)
	k.emit(rpdb.Event{Routes: true, By: []rpdb.Culprit{{Port: 4711, Comm: "ip", What: "route"}}})
	return nil
}

// PutRule adds a rule of somebody else's.
func (k *Kernel) PutRule(r rpdb.Rule) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Contains(k.rules, r) {
		return unix.EEXIST
	}
	k.rules = append(k.rules, r)
	k.emit(rpdb.Event{Rules: true})
	return nil
}

// PlaceRule adds a rule of somebody else's who gave no priority: it gets that of the second rule of its family, less one
// (net/core/fib_rules.c: fib_default_rule_pref).
func (k *Kernel) PlaceRule(r rpdb.Rule) error {
	k.mu.Lock()
	var priorities []uint32
	for _, o := range k.rules {
		if o.Family == r.Family {
			priorities = append(priorities, o.Priority)
		}
	}
	k.mu.Unlock()
	slices.Sort(priorities)
	r.Priority = 0
	if len(priorities) > 1 {
		r.Priority = priorities[1] - min(priorities[1], 1)
	}
	return k.PutRule(r)
}

// DelRules removes all rules that match, as "ip rule flush" does with those of a priority other than 0.
func (k *Kernel) DelRules(match func(rpdb.Rule) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rules = slices.DeleteFunc(k.rules, match)
	slices.SortStableFunc(k.rules, func(a, b rpdb.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	k.emit(rpdb.Event{Rules: true, By: []rpdb.Culprit{{Port: 4711, Comm: "ip", What: "rule"}}})
}
