// Package config reads uplinkd.toml: strict, every mistake at once with line and column, and an empty file is a good one.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
)

// The defaults.
const (
	DefaultPath         = "/etc/uplinkd/uplinkd.toml"
	DefaultProtocol     = 117  // 'u'; free in iproute2's rt_protos
	DefaultPriorityBase = 4000 // under Tailscale (5210), wg-quick (32764) and main (32766), over mwan3 (1001-3250) and 0
	DefaultFirstTable   = 7000
	DefaultLastTable    = 7999
	DefaultRTTablesDir  = "/etc/iproute2/rt_tables.d"
	// PrioritySpan is the size of the block of rule priorities that starts at the base.
	PrioritySpan = 1000
)

// Config is a whole configuration, checked.
type Config struct {
	Protocol     uint8  // the rtnetlink protocol number that marks what is ours
	PriorityBase uint32 // the first priority of our block
	FirstTable   uint32 // the range that table numbers come from, both ends included
	LastTable    uint32
	RTTablesDir  string // where table names go; empty: nowhere
	Fence        bool   // "from A unreachable" after A's own lookups
	ToRules      bool   // "to A lookup T"
	DNSRules     bool   // "to DNS lookup T" for the name servers of a lease
	ARPStrict    bool   // each link answers ARP for its own addresses only
	// ClasslessRoutes are the prefixes within which a lease's classless static routes count (RFC 3442), masked. None by
	// default: whoever answers DHCP would draw traffic of LANs and VPNs into the uplink with them (CVE-2024-3661).
	ClasslessRoutes []netip.Prefix
	HookUsers       []Account // who may send hook messages besides root and the daemon's own user
	HookGroups      []Account
	Include         []string // interface globs; empty: all
	Exclude         []string // interface globs
	Uplinks         []Uplink // in the file's order; the first that matches a link counts
}

// Uplink is one [[uplink]] section: what it matches, and what it sets for that link.
type Uplink struct {
	Interface string // glob (path.Match); empty: any
	MAC       string // lower-case, colon-separated; empty: any
	Kind      string // link kind as in "ip -d link", or "ppp"; empty: any
	Settings
}

// Settings are what the configuration says of one link.
type Settings struct {
	Configured bool         // an [[uplink]] section matches: it is an uplink even where its kind is none by default
	Excluded   bool         // never an uplink
	Name       string       // pinned name; empty: the interface's
	Table      uint32       // pinned table; 0: from the range
	Gateways   []netip.Addr // pinned gateways, at most one a family
	Mark, Mask uint32       // "fwmark MARK/MASK lookup T"; mask 0: none
	IIF        []string     // "iif NAME lookup T": what arrives there leaves by this uplink
	// Delegated are the prefixes of networks behind the host that came with this uplink, masked: what comes from there leaves by
	// it. Beside those that a DHCPv6 client tells of.
	Delegated []netip.Prefix
	Fence     bool
	ToRules   bool
	DNSRules  bool
	// ARPStrict has the link answer and ask ARP for its own addresses only, and its reverse path filter be loose (arp_ignore 1,
	// arp_announce 2, rp_filter 2), for as long as it is an uplink.
	ARPStrict bool
	// ObserveDHCP has the link's DHCP messages read off the wire, for clients that have no hook.
	ObserveDHCP bool
	// ObserveRA has the link's router advertisements read by a raw socket, for hosts whose kernel leaves them to a client.
	ObserveRA bool
	// ClasslessRoutes as in Config.
	ClasslessRoutes []netip.Prefix
}

// Account is a user or a group as the file names it. What a name stands for is the system's to say, not the file's.
type Account struct {
	Name string // empty: the number counts
	ID   uint32
	// Line and Column are where it stands in the file, from 1.
	Line, Column int
}

// String is the account as the file has it.
func (a Account) String() string {
	if a.Name != "" {
		return a.Name
	}
	return strconv.FormatUint(uint64(a.ID), 10)
}

// largest is the size of a configuration file above which it is surely another file.
const largest = 1 << 20

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Protocol:     DefaultProtocol,
		PriorityBase: DefaultPriorityBase,
		FirstTable:   DefaultFirstTable,
		LastTable:    DefaultLastTable,
		RTTablesDir:  DefaultRTTablesDir,
		Fence:        true,
	}
}

// Load reads a configuration file. A file that does not exist is an empty one; one that cannot be read is an error, and
// one with mistakes an *Error.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; name is the file's, for the messages. The error is an *Error with all the mistakes.
func Parse(name string, data []byte) (Config, error) {
	if len(data) > largest {
		text := fmt.Sprintf("the file is too large; allowed: %d bytes", largest)
		return Config{}, &Error{File: name, Problems: []Problem{{Line: 1, Column: 1, Text: text}}}
	}
	doc, err := parseDocument(name, data)
	if err != nil {
		return Config{}, err
	}
	var ps problems
	r := raw{Config: Default()}
	readTable(&ps, "", doc, topKeys(&ps), &r)
	if err := ps.err(name); err != nil {
		return Config{}, err
	}
	return r.typed(), nil
}

// typed gives every section what it inherits.
func (r *raw) typed() Config {
	c := r.Config
	for _, s := range r.sections {
		u := s.Uplink
		u.Configured = true
		u.Fence = inherit(s.fence, c.Fence)
		u.ToRules = inherit(s.toRules, c.ToRules)
		u.DNSRules = inherit(s.dnsRules, c.DNSRules)
		u.ARPStrict = inherit(s.arpStrict, c.ARPStrict)
		if u.ClasslessRoutes == nil {
			u.ClasslessRoutes = c.ClasslessRoutes
		}
		c.Uplinks = append(c.Uplinks, u)
	}
	return c
}

func inherit(own *bool, above bool) bool {
	if own != nil {
		return *own
	}
	return above
}

// For gives what the configuration says of a link by its name, its MAC (colon-separated hex; empty: none) and its kind.
// The first section that matches counts. The list exclude wins over a section; the list include is only about links
// that have none. The slices are shared with c.
func (c Config) For(name, mac, kind string) Settings {
	s := Settings{Fence: c.Fence, ToRules: c.ToRules, DNSRules: c.DNSRules, ARPStrict: c.ARPStrict, ClasslessRoutes: c.ClasslessRoutes}
	for _, u := range c.Uplinks {
		if u.matches(name, mac, kind) {
			s = u.Settings
			break
		}
	}
	matches := func(glob string) bool { return matchGlob(glob, name) }
	switch {
	case slices.ContainsFunc(c.Exclude, matches):
		s.Excluded = true
	case !s.Configured && len(c.Include) > 0 && !slices.ContainsFunc(c.Include, matches):
		s.Excluded = true
	}
	return s
}

// Names says whether the configuration is about this very link: the section that counts for it says an interface or a MAC, or
// the list include has it. A section that says no more than a kind is about all such links.
func (c Config) Names(name, mac, kind string) bool {
	i := slices.IndexFunc(c.Uplinks, func(u Uplink) bool { return u.matches(name, mac, kind) })
	if i >= 0 && (c.Uplinks[i].Interface != "" || c.Uplinks[i].MAC != "") {
		return true
	}
	return slices.ContainsFunc(c.Include, func(glob string) bool { return matchGlob(glob, name) })
}
