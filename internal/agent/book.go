package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// A link has one lease an address from each client; more than this is somebody's flood, and the oldest go. What ordinary
// users may have said has limits of its own, so that it takes no place from what root said.
const (
	maxLeasesPerLink     = 64
	maxLeases            = 1024
	maxUserLeasesPerLink = 8
	maxUserLeases        = 64
)

// book is what the leases say. Its order is that of their last news.
type book struct {
	leases   []state.StoredLease
	followed bool // there was a look in this run
}

// load takes leases from before this run.
func (b *book) load(ls []state.StoredLease) { b.leases = slices.Clone(ls) }

// bind takes a new word about an address. One that only repeats the last keeps its age: a renewal is no news.
func (b *book) bind(l state.StoredLease) {
	old, had := b.find(l)
	if had && sameWord(old, l) {
		l.Seq = old.Seq
	}
	l.Seen = l.Seen || had && old.Seen
	b.remove(func(o state.StoredLease) bool { return sameClient(o, l) && o.Lease.Address == l.Lease.Address })
	b.leases = append(b.leases, l)
	slices.SortStableFunc(b.leases, func(x, y state.StoredLease) int { return cmp.Compare(x.Seq, y.Seq) })
	b.bound(l.Index)
}

// sameClient says whether two leases are one client's, of one link and family.
func sameClient(a, b state.StoredLease) bool {
	return a.Index == b.Index && a.Lease.Source == b.Lease.Source && a.Lease.Address.Is4() == b.Lease.Address.Is4()
}

// superseded drops the leases that a later one of the same client has taken the place of, and returns them. It has when its
// own address is on the link and the old one is not: a word about an address that never comes takes down nothing, and two
// clients of one kind on a link have a lease each. A prefix is no address's successor, nor has one.
func (b *book) superseded(s *rpdb.Snapshot) []state.StoredLease {
	old := make(map[int]bool)
	for i, l := range b.leases {
		for _, later := range b.leases[i+1:] {
			if later.Sole && sameClient(l, later) && !l.Lease.Prefix.IsValid() && hasAddress(s, later.Index, later.Lease.Address) &&
				!hasAddress(s, l.Index, l.Lease.Address) {
				old[i] = true
			}
		}
	}
	i := -1
	return b.remove(func(state.StoredLease) bool {
		i++
		return old[i]
	})
}

func (b *book) find(l state.StoredLease) (state.StoredLease, bool) {
	for _, o := range b.leases {
		if o.Index == l.Index && o.Lease.Source == l.Lease.Source && o.Lease.Address == l.Lease.Address {
			return o, true
		}
	}
	return state.StoredLease{}, false
}

// sameWord says whether two leases say the same of the gateway. Another classless route is no newer word about that.
func sameWord(a, b state.StoredLease) bool {
	return a.Lease.Refused == b.Lease.Refused && slices.Equal(a.Lease.Gateways(), b.Lease.Gateways())
}

// bound keeps to the limits.
func (b *book) bound(index int) {
	b.evict(maxUserLeasesPerLink, func(l state.StoredLease) bool { return l.Index == index && ofUser(l) })
	b.evict(maxUserLeases, ofUser)
	b.evict(maxLeasesPerLink, func(l state.StoredLease) bool { return l.Index == index })
	b.evict(maxLeases, func(state.StoredLease) bool { return true })
}

// ofUser says whether an ordinary user may have said a lease.
func ofUser(l state.StoredLease) bool { return l.Lease.Source.TunnelOnly() }

func unseen(l state.StoredLease) bool { return !l.Seen }

// evict drops one lease where more than most match: an ordinary user's before any of root's, and of either the oldest whose
// address has never been on its link, since that may be anybody's invention, or else the oldest. The newest goes only where
// it is the one of an ordinary user among root's.
func (b *book) evict(most int, match func(state.StoredLease) bool) {
	var at []int
	for i, l := range b.leases {
		if match(l) {
			at = append(at, i)
		}
	}
	if len(at) <= most {
		return
	}
	newest := len(at) - 1
	first := func(at []int, match func(state.StoredLease) bool) int {
		return slices.IndexFunc(at, func(i int) bool { return match(b.leases[i]) })
	}
	i := first(at[:newest], func(l state.StoredLease) bool { return ofUser(l) && unseen(l) })
	if i < 0 {
		i = first(at, ofUser)
	}
	if i < 0 {
		i = first(at[:newest], unseen)
	}
	b.leases = slices.Delete(b.leases, at[max(i, 0)], at[max(i, 0)]+1)
}

// remove drops the leases that a match names, and returns them.
func (b *book) remove(match func(state.StoredLease) bool) []state.StoredLease {
	var gone []state.StoredLease
	b.leases = slices.DeleteFunc(b.leases, func(l state.StoredLease) bool {
		if match(l) {
			gone = append(gone, l)
			return true
		}
		return false
	})
	return gone
}

// follow drops the leases of links that are gone, and of addresses that never came or went long ago without a word; it
// follows links to their new names.
func (b *book) follow(s *rpdb.Snapshot, now moment) {
	for i := range b.leases {
		l := &b.leases[i]
		if link, ok := s.Link(l.Index); ok {
			l.Interface = link.Name
		}
		l.Seen = l.Seen || inUse(s, *l)
	}
	b.remove(func(l state.StoredLease) bool {
		_, there := s.Link(l.Index)
		return !there || expired(l, now) && (l.Lease.Delegated || !inUse(s, l) || !b.followed && isDhclient(l) && permanent(s, l))
	})
	b.followed = true
}

// expired says that the client should have renewed the lease by now. It matters only where the address is gone too:
// the kernel's own lifetime of the address is the better word.
func expired(l state.StoredLease, now moment) bool {
	const shortest = 30 * time.Second
	life := l.Lease.Lifetime
	return life > 0 && age(l, now) > max(life, shortest)
}

// isDhclient: its script gives an address the lifetime of the lease. Without one, the address is not that of a lease that ran
// out while nobody looked.
func isDhclient(l state.StoredLease) bool {
	return l.Lease.Source == lease.SourceDhclient || l.Lease.Source == lease.SourceDhclient6
}

func permanent(s *rpdb.Snapshot, l state.StoredLease) bool {
	return slices.ContainsFunc(s.Addresses, func(a rpdb.Address) bool {
		return a.Link == l.Index && a.Prefix.Addr() == l.Lease.Address && a.Permanent
	})
}

// inUse says whether the host has what a lease is about: its address, or one in its prefix. A delegated prefix is for other links
// than the one that it came by; those addresses stay where the provider has taken it back, so its own lifetime ends it.
func inUse(s *rpdb.Snapshot, l state.StoredLease) bool {
	if !l.Lease.Prefix.IsValid() {
		return hasAddress(s, l.Index, l.Lease.Address)
	}
	return slices.ContainsFunc(s.Addresses, func(a rpdb.Address) bool {
		return l.Lease.Prefix.Contains(a.Prefix.Addr()) && (a.Link == l.Index) != l.Lease.Delegated
	})
}

func hasAddress(s *rpdb.Snapshot, link int, ip netip.Addr) bool {
	return slices.ContainsFunc(s.Addresses, func(a rpdb.Address) bool { return a.Link == link && a.Prefix.Addr() == ip })
}

// words are the leases as Derive takes them.
func (b *book) words() []uplink.Lease {
	ws := make([]uplink.Lease, len(b.leases))
	for i, l := range b.leases {
		ws[i] = uplink.Lease{Link: l.Index, Seq: l.Seq, Seen: l.Seen, Lease: l.Lease}
	}
	return ws
}

// learn takes what a hook said. What is wrong with it changes nothing of what was known.
func (a *Agent) learn(ev lease.Event) error {
	on := func(l state.StoredLease) bool {
		if l.Lease.Source != ev.Source {
			return false
		}
		return l.Index == ev.Index || ev.Index == 0 && l.Interface == ev.Interface
	}
	switch ev.Verb {
	case lease.Bind:
		return a.learnLease(ev, ev.Lease)
	case lease.Replace:
		return a.learnAll(ev, on)
	case lease.Remove:
		a.forget(a.book.remove(func(l state.StoredLease) bool { return on(l) && l.Lease.Address == ev.Address }))
		a.letGo(ev.Source, ev.Index, ev.Address) // a client may give up what it told nobody here of
	case lease.RemoveAll:
		a.forget(a.book.remove(on))
		a.held = slices.DeleteFunc(a.held, func(h uplink.Held) bool { return h.Link == ev.Index && h.Source == ev.Source })
	}
	a.log.Debug("hook", linkField(ev.Interface), sourceField(ev), verbField(ev))
	return nil
}

// learnAll takes the whole of what a source has on a link. What it has no more was not given up: what is remembered of
// those addresses stays, until the source gives up all.
func (a *Agent) learnAll(ev lease.Event, on func(state.StoredLease) bool) error {
	var errs []error
	for _, l := range ev.Leases {
		errs = append(errs, a.learnLease(ev, l))
	}
	a.book.remove(func(l state.StoredLease) bool {
		return on(l) && !slices.ContainsFunc(ev.Leases, func(n lease.Lease) bool { return n.Address == l.Lease.Address })
	})
	return errors.Join(errs...)
}

// learnLease takes a word about one address.
func (a *Agent) learnLease(ev lease.Event, word lease.Lease) error {
	index := ev.Index
	if index == 0 {
		i := slices.IndexFunc(a.snap.Links, func(l rpdb.Link) bool { return l.Name == ev.Interface })
		if i < 0 {
			return fmt.Errorf("lease of %s by %s: there is no link %q", word.Address, ev.Source, ev.Interface)
		}
		index = a.snap.Links[i].Index
	}
	if link, ok := a.snap.Link(index); ok && !uplink.MaySpeak(word.Source, link) {
		return fmt.Errorf("lease of %s by %s on %s does not count: that is no tunnel", word.Address, word.Source, rpdb.Printable(link.Name))
	}
	a.seq++
	now := a.now()
	l := state.StoredLease{
		Index: index, Interface: ev.Interface, Seq: a.seq, Received: now.wall, Boottime: now.boot, Lease: word, Problems: ev.Problems,
	}
	prev, _ := a.book.find(l)
	l.Lease, l.Sole = ev.Over(prev.Lease, word), ev.Sole
	a.book.bind(l)
	a.log.Debug("hook", linkField(ev.Interface), sourceField(ev), verbField(ev))
	return nil
}

// forget drops what is remembered of addresses whose lease was given up: nothing of them is to stay.
func (a *Agent) forget(gone []state.StoredLease) {
	for _, l := range gone {
		a.letGo(l.Lease.Source, l.Index, l.Lease.Address)
	}
}

// letGo drops what is remembered of an address that a source gave up. An ordinary user's word ends nothing but its own.
func (a *Agent) letGo(by lease.Source, link int, addr netip.Addr) {
	a.held = slices.DeleteFunc(a.held, func(h uplink.Held) bool {
		return h.Link == link && h.Addr == addr && (h.Source == by || !by.TunnelOnly())
	})
}
