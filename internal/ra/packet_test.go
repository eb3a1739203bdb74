package ra

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// option is a neighbour discovery option of a type, in units of 8 octets, filled with ones.
func option(kind byte, units int) []byte {
	b := slices.Repeat([]byte{1}, units*octets)
	b[0], b[1] = kind, byte(units)
	return b
}

// of is an advertisement of the first router's, on link 2, with its prefix and what is behind it.
func of(change func(p *packet), more ...[]byte) packet {
	data := slices.Concat(append([][]byte{advertisement(netip.MustParsePrefix(p1), 600)}, more...)...)
	p := packet{data: data, link: 2, source: netip.MustParseAddr(r1), hopLimit: 255}
	if change != nil {
		change(&p)
	}
	return p
}

func prefixInfo(prefix string) []byte {
	return advertisement(netip.MustParsePrefix(prefix), 600)[sizeAdvertisement:]
}

func TestDecodeAdvertisement(t *testing.T) {
	cut := func(n int) func(*packet) { return func(p *packet) { p.data = p.data[:len(p.data)-n] } }
	put := func(at int, v byte) func(*packet) { return func(p *packet) { p.data[at] = v } }
	from := func(a string) func(*packet) { return func(p *packet) { p.source = netip.MustParseAddr(a) } }
	hops := func(n int) func(*packet) { return func(p *packet) { p.hopLimit = n } }
	const link = sizeAdvertisement
	for name, c := range map[string]struct {
		in   packet
		want string // the prefixes, and the beginning of an error behind "!"
	}{
		"a prefix":                      {of(nil), p1},
		"two":                           {of(nil, prefixInfo(p2)), p1 + " " + p2},
		"between other options":         {of(nil, option(5, 1), option(25, 5), prefixInfo(p2), option(255, 255)), p1 + " " + p2},
		"no option":                     {of(cut(32)), ""},
		"no default router":             {of(func(p *packet) { p.data[6], p.data[7] = 0, 0 }), p1},
		"one that was passed on":        {of(hops(254)), "!an advertisement with hop limit 254"},
		"no hop limit":                  {of(hops(0)), "!an advertisement with hop limit 0"},
		"no link":                       {of(func(p *packet) { p.link = 0 }), "!an advertisement on link 0"},
		"another message":               {of(put(0, 136)), "!type 136, code 0"},
		"another code":                  {of(put(1, 1)), "!type 134, code 1"},
		"of a global source":            {of(from("2001:db8::1")), "!an advertisement from 2001:db8::1"},
		"of nobody":                     {of(from("::")), "!an advertisement from ::"},
		"of a group":                    {of(from("ff02::1")), "!an advertisement from ff02::1"},
		"too short":                     {of(cut(33)), "!an advertisement of 15 octets: cut short"},
		"nothing":                       {of(func(p *packet) { p.data = nil }), "!an advertisement of 0 octets: cut short"},
		"a cut option":                  {of(cut(1)), "!an option in the last 31 octets of an advertisement: cut short"},
		"one octet of an option":        {of(cut(31)), "!an option in the last 1 octets"},
		"an option of length 0":         {of(put(link+1, 0)), "!an option in the last 32 octets"},
		"a second one of length 0":      {of(nil, []byte{3, 0, 0, 0, 0, 0, 0, 0}), "!an option in the last 8 octets"},
		"a second one that is too long": {of(nil, option(1, 2)[:8]), "!an option in the last 8 octets"},
		"a prefix option of 24 octets":  {of(nil, option(3, 3)), p1 + "!a prefix information option of 24 octets"},
		"a prefix that none can have":   {of(nil, prefixInfo("ff02::/64"), prefixInfo(p2)), p1 + " " + p2 + "!prefix ff02::/64"},
		"preferred longer than valid":   {of(put(link+7, 1)), "!preferred for 10m0s"},
	} {
		as, err := decodeAdvertisement(c.in)
		var got []string
		for _, a := range as {
			got = append(got, a.prefix.String())
			if a.link != 2 || a.router != c.in.source || a.valid != 600*time.Second {
				t.Errorf("%s: %+v", name, a)
			}
		}
		prefixes, why, bad := strings.Cut(c.want, "!")
		if strings.Join(got, " ") != prefixes || (err != nil) != bad || bad && !strings.HasPrefix(err.Error(), why) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestOnePacketIsBounded: no packet says more than a link can have.
func TestOnePacketIsBounded(t *testing.T) {
	p := of(nil)
	for range 200 {
		p.data = append(p.data, prefixInfo(p2)...)
	}
	if as, err := decodeAdvertisement(p); len(as) != maxPrefixes || err != nil {
		t.Errorf("%d announcements, %v", len(as), err)
	}
}

// FuzzDecodeAdvertisement: whatever comes, nothing is taken of a packet that is not valid, and what is taken can be an announcement.
func FuzzDecodeAdvertisement(f *testing.F) {
	f.Add(of(nil, prefixInfo(p2)).data, 255, uint8(0))
	f.Add(of(nil, option(3, 3)).data, 255, uint8(1))
	f.Add(of(nil).data[:20], 64, uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, hops int, source uint8) {
		p := packet{data: slices.Clone(data), link: 2, hopLimit: hops, source: netip.MustParseAddr([]string{r1, "2001:db8::1", "::"}[source%3])}
		as, err := decodeAdvertisement(p)
		if !slices.Equal(p.data, data) {
			t.Error("the packet was written to")
		}
		if errors.Is(err, errOther) {
			t.Error("what is another option is no error")
		}
		if len(as) > 0 && (p.validate() != nil || hops != 255 || source%3 != 0) {
			t.Errorf("%d announcements of what is not valid", len(as))
		}
		if len(as) > min(maxPrefixes, len(data)/sizePrefixInfo) {
			t.Errorf("%d announcements in %d octets", len(as), len(data))
		}
		for _, a := range as {
			usable := a.prefix.IsValid() && a.prefix == a.prefix.Masked() && a.prefix.Bits() > 0 && a.prefix.Addr().Is6()
			if !usable || a.link != 2 || a.router != p.source || a.valid < 0 || a.valid > infinity {
				t.Errorf("%+v", a)
			}
		}
	})
}
