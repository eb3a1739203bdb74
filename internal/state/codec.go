package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// The bounds of what is taken from a file: far over what any host has, and small enough to do no harm.
const (
	maxFile    = 16 << 20
	maxTables  = 1 << 16
	maxLeases  = 1 << 14
	maxHeld    = 1 << 16
	maxRoutes  = 1 << 14
	maxChanged = 1 << 14
	maxSeq     = 1 << 62 // room to count on
	maxName    = 64      // bytes of a name
	maxSetting = 8       // of arp_ignore, the largest value of those that are set (ip-sysctl)
	maxList    = 1024    // elements of a list in a lease
	maxDropped = 20      // complaints about single entries
)

// document is the file; the entries are decoded one by one, so that a bad one costs nothing but itself.
type document struct {
	Version  int                        `json:"version"`
	BootID   string                     `json:"boot_id"`
	Protocol uint8                      `json:"protocol"`
	Tables   map[string]json.RawMessage `json:"tables"`
	Leases   []json.RawMessage          `json:"leases"`
	Held     []json.RawMessage          `json:"held"`
	Routes   []json.RawMessage          `json:"routes"`
	Settings []json.RawMessage          `json:"settings"`
}

type routeWord struct {
	Index   int        `json:"index"`
	IPv6    bool       `json:"ipv6,omitzero"`
	Class   string     `json:"class"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	Seq     uint64     `json:"seq"`
}

type storedLease struct {
	Index     int           `json:"index"`
	Interface string        `json:"interface"`
	Seq       uint64        `json:"seq"`
	Received  time.Time     `json:"received"`
	Boottime  time.Duration `json:"boottime_ns,omitzero"`
	Lease     lease.Lease   `json:"lease"`
	Seen      bool          `json:"seen,omitzero"`
	Sole      bool          `json:"sole,omitzero"`
}

type held struct {
	Index     int          `json:"index"`
	Interface string       `json:"interface"`
	Address   netip.Addr   `json:"address"`
	Bits      int          `json:"bits,omitzero"`
	Class     string       `json:"class"`
	Gateway   netip.Addr   `json:"gateway,omitzero"`
	Onlink    bool         `json:"onlink,omitzero"`
	Source    lease.Source `json:"source,omitzero"`
	Fell      bool         `json:"fell,omitzero"`
	Lent      bool         `json:"lent,omitzero"`
}

// encode writes a state as its file, the same bytes for the same state.
func encode(s State) ([]byte, error) {
	out := struct {
		Version  int               `json:"version"`
		BootID   string            `json:"boot_id"`
		Protocol uint8             `json:"protocol"`
		Tables   map[string]uint32 `json:"tables"`
		Leases   []storedLease     `json:"leases"`
		Held     []held            `json:"held"`
		Routes   []routeWord       `json:"routes"`
		Settings []setting         `json:"settings"`
	}{Version, s.BootID, s.Protocol, map[string]uint32{}, []storedLease{}, []held{}, []routeWord{}, []setting{}}
	for name, table := range s.Tables {
		out.Tables[escape(name)] = table
	}
	for _, l := range s.Leases {
		out.Leases = append(out.Leases, storedLease{l.Index, escape(l.Interface), l.Seq, l.Received.UTC(), l.Boottime, l.Lease, l.Seen, l.Sole})
	}
	for _, h := range s.Held {
		out.Held = append(out.Held, held{h.Index, escape(h.Interface), h.Address, h.Bits, h.Class, h.Gateway, h.Onlink, h.Source, h.Fell, h.Lent})
	}
	for _, r := range s.Routes {
		out.Routes = append(out.Routes, routeWord(r))
	}
	for _, c := range s.Settings {
		out.Settings = append(out.Settings, setting{c.Index, escape(c.Interface), c.MAC, c.Name, c.Value, c.Was})
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return append(data, '\n'), nil
}

// decode reads a file. Entries that cannot be true are left out, each with a word in dropped; the error says that the
// file as a whole cannot be read. The tables are there even then, where they can be made out.
func decode(data []byte) (s State, dropped []string, err error) {
	var doc document
	err = json.Unmarshal(data, &doc)
	d := decoder{}
	if err != nil && doc.Tables == nil {
		doc.Tables = salvageTables(data)
	}
	s.Tables = d.tables(doc.Tables)
	switch {
	case err != nil:
		return s, d.dropped, err
	case doc.Version != Version:
		return s, d.dropped, fmt.Errorf("version %d, this uplinkd writes %d", doc.Version, Version)
	}
	s.Version, s.BootID, s.Protocol = doc.Version, doc.BootID, doc.Protocol
	s.Leases = entries(&d, "lease", doc.Leases, maxLeases, decodeLease)
	s.Held = entries(&d, "held address", doc.Held, maxHeld, decodeHeld)
	s.Routes = entries(&d, "route", doc.Routes, maxRoutes, decodeRoute)
	s.Settings = entries(&d, "setting", doc.Settings, maxChanged, decodeSetting)
	return s, d.dropped, nil
}

// salvageTables reads the tables out of a file that is no JSON as a whole, as one that was cut off, as far as they go.
func salvageTables(data []byte) map[string]json.RawMessage {
	_, rest, found := bytes.Cut(data, []byte(`"tables":`))
	dec := json.NewDecoder(bytes.NewReader(rest))
	if open, err := dec.Token(); !found || err != nil || open != json.Delim('{') {
		return nil
	}
	tables := map[string]json.RawMessage{}
	for dec.More() && len(tables) < maxTables {
		name, err := dec.Token()
		if err != nil {
			break
		}
		var number json.RawMessage
		// A number at the very end may have lost digits.
		if err := dec.Decode(&number); err != nil || dec.InputOffset() == int64(len(rest)) {
			break
		}
		if s, ok := name.(string); ok {
			tables[s] = number
		}
	}
	return tables
}

// decoder remembers what was left out.
type decoder struct {
	dropped []string
}

func (d *decoder) drop(format string, args ...any) {
	if len(d.dropped) < maxDropped {
		d.dropped = append(d.dropped, fmt.Sprintf(format, args...))
	}
}

// tables keeps of two names with one number the first in alphabetical order.
func (d *decoder) tables(in map[string]json.RawMessage) map[string]uint32 {
	out := map[string]uint32{}
	taken := map[uint32]string{}
	for _, key := range slices.Sorted(maps.Keys(in)) {
		name, err := unescape(key)
		var table uint32
		if err == nil {
			err = json.Unmarshal(in[key], &table)
		}
		other, twice := taken[table]
		switch {
		case err != nil:
			d.drop("table of %q: %v", shorten(key), err)
		case !usableTable(table):
			d.drop("table of %q: %d is no number for it", name, table)
		case twice:
			d.drop("table of %q: %d is the table of %q", name, table, other)
		case len(out) >= maxTables:
			d.drop("table of %q: there are more than %d", name, maxTables)
		default:
			out[name], taken[table] = table, name
		}
	}
	return out
}

// usableTable says whether an uplink may have the table: not the kernel's own ones (linux/rtnetlink.h).
func usableTable(n uint32) bool { return n != 0 && (n < 253 || n > 255) && n < 1<<31 }

// entries decodes a list one by one.
func entries[T any](d *decoder, what string, in []json.RawMessage, most int, one func([]byte) (T, error)) []T {
	var out []T
	for i, data := range in {
		if i == most {
			d.drop("%ss: %d of %d left out: too many", what, len(in)-most, len(in))
			break
		}
		v, err := one(data)
		if err != nil {
			d.drop("%s %d: %v", what, i, err)
			continue
		}
		out = append(out, v)
	}
	return out
}

func decodeLease(data []byte) (StoredLease, error) {
	var in storedLease
	if err := json.Unmarshal(data, &in); err != nil {
		return StoredLease{}, err
	}
	name, err := unescape(in.Interface)
	if err := cmp.Or(err, checkPlace(in.Index, in.Lease.Address), checkLease(in.Lease)); err != nil {
		return StoredLease{}, err
	}
	if in.Seq > maxSeq {
		return StoredLease{}, fmt.Errorf("place %d in the order", in.Seq)
	}
	return StoredLease{
		Index: in.Index, Interface: name, Seq: in.Seq, Received: in.Received, Boottime: max(in.Boottime, 0), Lease: in.Lease, Seen: in.Seen, Sole: in.Sole,
	}, nil
}

func decodeRoute(data []byte) (RouteWord, error) {
	var in routeWord
	if err := json.Unmarshal(data, &in); err != nil {
		return RouteWord{}, err
	}
	place := in.Gateway
	if !place.IsValid() {
		place = netip.IPv4Unspecified()
	}
	if err := cmp.Or(checkPlace(in.Index, place), checkWord("class", in.Class)); err != nil {
		return RouteWord{}, err
	}
	if in.Seq > maxSeq {
		return RouteWord{}, fmt.Errorf("place %d in the order", in.Seq)
	}
	return RouteWord(in), nil
}

func decodeHeld(data []byte) (Held, error) {
	var in held
	if err := json.Unmarshal(data, &in); err != nil {
		return Held{}, err
	}
	name, err := unescape(in.Interface)
	if err := cmp.Or(err, checkPlace(in.Index, in.Address), checkWord("class", in.Class), checkWord("source", string(in.Source))); err != nil {
		return Held{}, err
	}
	if in.Bits < 0 || in.Bits > in.Address.BitLen() {
		return Held{}, fmt.Errorf("prefix length %d", in.Bits)
	}
	if in.Gateway.Zone() != "" {
		return Held{}, fmt.Errorf("gateway %q", shorten(in.Gateway.String()))
	}
	return Held{
		Index: in.Index, Interface: name, Address: in.Address, Bits: in.Bits, Class: in.Class, Gateway: in.Gateway, Onlink: in.Onlink, Source: in.Source, Fell: in.Fell,
		Lent: in.Lent,
	}, nil
}

func checkPlace(index int, a netip.Addr) error {
	switch {
	case index < 1 || index > 1<<31-1:
		return fmt.Errorf("interface index %d", index)
	case !a.IsValid() || a.Zone() != "" || a.Is4In6():
		return fmt.Errorf("address %q", shorten(a.String()))
	}
	return nil
}

// checkLease refuses what the lease decoder would never have made; what a lease may say is judged where it is used.
func checkLease(l lease.Lease) error {
	for _, a := range slices.Concat(l.Routers, l.DNS) {
		if !a.IsValid() || a.Zone() != "" {
			return fmt.Errorf("address %q in the lease", shorten(a.String()))
		}
	}
	for _, r := range l.Classless {
		if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || !r.Gateway.IsValid() {
			return fmt.Errorf("route %q in the lease", shorten(r.Dst.String()+" "+r.Gateway.String()))
		}
	}
	switch {
	case len(l.Routers) > maxList || len(l.DNS) > maxList || len(l.Classless) > maxList:
		return fmt.Errorf("more than %d elements in a list of the lease", maxList)
	case l.Prefix.IsValid() && (l.Prefix != l.Prefix.Masked() || l.Prefix.Addr() != l.Address), l.Delegated && !l.Prefix.IsValid():
		return fmt.Errorf("prefix %q", shorten(l.Prefix.String()))
	case l.Bits < -1 || l.Bits > l.Address.BitLen():
		return fmt.Errorf("prefix length %d", l.Bits)
	case l.Lifetime < 0 && l.Lifetime != lease.Infinite:
		return fmt.Errorf("lifetime %d", l.Lifetime)
	case l.MTU < 0 || l.MTU > 1<<16:
		return fmt.Errorf("MTU %d", l.MTU)
	case l.Source == "":
		return fmt.Errorf("no source")
	}
	return checkWord("source", string(l.Source))
}

func checkWord(what, s string) error {
	if len(s) > maxName {
		return fmt.Errorf("%s %q", what, shorten(s))
	}
	return nil
}

// escape makes a name that may hold any byte fit for JSON, which has only UTF-8.
func escape(name string) string {
	q := strconv.QuoteToASCII(name)
	return q[1 : len(q)-1]
}

func unescape(s string) (string, error) {
	name, err := strconv.Unquote(`"` + s + `"`)
	if err != nil || len(name) > maxName {
		return "", fmt.Errorf("name %q", shorten(s))
	}
	return name, nil
}

func shorten(s string) string { return s[:min(len(s), maxName)] }
