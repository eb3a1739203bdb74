package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Compare says how the kernel's own answer differs from all the outcomes of a walk, or nothing where they agree.
func Compare(db *rpdb.Database, question rpdb.Flow, w *Walk, kernel rpdb.Found) string {
	why := "the walk came to no end"
	for _, o := range w.Outcomes {
		if why = differ(db, question, &o, kernel); why == "" {
			return ""
		}
	}
	return why
}

// SourceCheck says whether the kernel refuses a packet for where it came in, although there is a route: reverse path filtering,
// or a source that cannot be another host's (fib_validate_source of net/ipv4/fib_frontend.c).
func SourceCheck(question rpdb.Flow, w *Walk, kernel rpdb.Found) bool {
	refused := kernel.Errno == syscall.EINVAL || kernel.Errno == syscall.EXDEV
	return question.Family() == rpdb.IPv4 && question.IIF != 0 && refused && len(w.Outcomes) > 0 && w.Outcomes[0].Errno == 0
}

func differ(db *rpdb.Database, q rpdb.Flow, o *Outcome, k rpdb.Found) string {
	switch {
	case o.Errno != k.Errno:
		return fmt.Sprintf("the walk ends with %s, the kernel with %s", endText(o.Errno), endText(k.Errno))
	case o.Errno != 0:
		return ""
	}
	if why := differHop(db, o, k); why != "" {
		return why
	}
	own := o.Route != nil && (o.Route.Object == 0 || o.Route.Family() == rpdb.IPv4) // see differEntry
	if own && o.Route.Src.IsValid() && !q.Src.IsValid() && q.IIF == 0 && k.Src != o.Route.Src && len(o.Hops) == 1 {
		return fmt.Sprintf("the route's source is %s, the kernel takes %s", o.Route.Src, k.Src)
	}
	return differEntry(o, k)
}

func differHop(db *rpdb.Database, o *Outcome, k rpdb.Found) string {
	if o.Route != nil && o.Route.Type != rpdb.Unicast {
		if k.Type != o.Route.Type {
			return fmt.Sprintf("the walk ends at a route of type %s, the kernel at %s", o.Route.Type, k.Type)
		}
		return ""
	}
	same := func(h rpdb.Hop) bool { return h.OIF == k.OIF && h.Via == k.Via }
	if slices.ContainsFunc(o.Hops, same) {
		return ""
	}
	name := func(i int) string { return linkName(db, i) }
	kernel := rpdb.Hop{Via: k.Via, OIF: k.OIF}
	return fmt.Sprintf("the kernel takes%s, which is no next hop of the walk's", kernel.Text(rpdb.FamilyOf(k.Via), name))
}

// differEntry compares the entries of the tables, as far as both are known. IPv6 keeps what it made of a route with the next
// hop (rt6_get_pcpu_route of net/ipv6/route.c), and a nexthop object's is that of the first route that was asked by it.
func differEntry(o *Outcome, k rpdb.Found) string {
	if o.Route == nil || k.Entry == nil || len(o.Hops) > 1 || o.Route.Object != 0 && o.Route.Family() == rpdb.IPv6 {
		return ""
	}
	type identity struct {
		table     uint32
		dst, from netip.Prefix
		metric    uint32
		tos       uint8
	}
	id := func(r *rpdb.RouteDetail) identity { return identity{oneTable(r), r.Dst, r.From, r.Metric, r.TOS} }
	if id(o.Route) == id(k.Entry) {
		return ""
	}
	return fmt.Sprintf("the walk takes %s metric %d of table %d, the kernel %s metric %d of table %d",
		o.Route.Dst, o.Route.Metric, o.Route.Table, k.Entry.Dst, k.Entry.Metric, k.Entry.Table)
}

// oneTable takes IPv4's tables local and main for one: they are, until somebody adds the first rule (fib_unmerge of
// net/ipv4/fib_frontend.c), and the kernel then calls either main.
func oneTable(r *rpdb.RouteDetail) uint32 {
	if r.Family() == rpdb.IPv4 && r.Table == rpdb.TableLocal {
		return rpdb.TableMain
	}
	return r.Table
}

func endText(e syscall.Errno) string {
	if e == 0 {
		return "a route"
	}
	return errnoText(e)
}

// linkName is a link's name by its index, not yet fit for a terminal.
func linkName(db *rpdb.Database, index int) string {
	if l, ok := db.Link(index); ok {
		return l.Name
	}
	return fmt.Sprintf("if%d", index)
}
