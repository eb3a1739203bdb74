package fakekernel

import (
	"fmt"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// State puts an address, which need not be there yet, into a state: "temporary", "deprecated", "tentative" or "dadfailed".
func (k *Kernel) State(dev, cidr, state string) error {
	p, err := parsePrefix(cidr)
	if err != nil {
		return err
	}
	if index, err := k.Index(dev); err != nil {
		return err
	} else if !k.has(index, p.String()) {
		if err := k.Addr(dev, cidr); err != nil {
			return err
		}
	}
	return k.change(dev, func(l *rpdb.Link) {
		for i := range k.addrs {
			if a := &k.addrs[i]; a.Link == l.Index && a.Prefix == p {
				mark(a, state)
			}
		}
	})
}

func (k *Kernel) has(index int, cidr string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.addrs, func(a rpdb.Address) bool { return a.Link == index && a.Prefix.String() == cidr })
}

func mark(a *rpdb.Address, state string) {
	switch state {
	case "temporary":
		a.Temporary = true
	case "deprecated":
		a.Deprecated = true
	case "tentative":
		a.Tentative = true
	case "dadfailed":
		a.Tentative, a.DADFailed = true, true
	default:
		panic(fmt.Sprintf("no such state of an address: %q", state))
	}
}

// Promote lets the second IPv4 address of a subnet on a link stay when the first one goes (promote_secondaries).
func (k *Kernel) Promote(dev string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(dev)
	if err != nil {
		return err
	}
	if k.promote == nil {
		k.promote = make(map[int]bool)
	}
	k.promote[k.links[i].Index] = true
	return nil
}
