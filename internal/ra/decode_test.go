package ra

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// real is a message that Linux 6.18 sent: a prefix information option of radvd's.
const real = "0a002000020000008600000000000000" +
	"030440c0000002580000012c0000000020010db8000a00000000000000000000" +
	"14000100fe800000000000005814 5dfffeea07fb"

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// datagram puts netlink headers before messages.
func datagram(kind uint16, messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(m)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, make([]byte, 10)...)
		b = append(b, m...)
	}
	return b
}

func TestDecodeDatagram(t *testing.T) {
	const want = "fe80::5814:5dff:feea:7fb 2001:db8:a::/64 10m0s"
	good := bytesOf(t, real)
	change := func(at int, values ...byte) []byte {
		b := bytesOf(t, real)
		copy(b[at:], values)
		return b
	}
	mapped := change(18, 128)
	copy(mapped[32:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 0})
	for name, c := range map[string]struct {
		in   []byte
		want string // the announcements; or the beginning of the error behind "!"
	}{
		"as the kernel has it":       {datagram(newNDUserOption, good), want},
		"two at once":                {datagram(newNDUserOption, good, good), want + ", " + want},
		"nothing":                    {nil, ""},
		"another message":            {datagram(unix.RTM_NEWROUTE, good), ""},
		"another option":             {datagram(newNDUserOption, change(16, 25)), ""},
		"of a redirect":              {datagram(newNDUserOption, change(8, 137)), ""},
		"of IPv4":                    {datagram(newNDUserOption, change(0, unix.AF_INET)), ""},
		"no link":                    {datagram(newNDUserOption, change(4, 0, 0, 0, 0)), "!a message about an option of 32 octets on link 0"},
		"a negative link":            {datagram(newNDUserOption, change(4, 0xff, 0xff, 0xff, 0xff)), "!a message about an option of 32 octets on link -1"},
		"an option that is too long": {datagram(newNDUserOption, change(2, 0xff, 0)), "!a message about an option of 255 octets"},
		"an option of 24 octets":     {datagram(newNDUserOption, change(2, 24, 0)), "!a prefix information option of 24 octets"},
		"a length of 3":              {datagram(newNDUserOption, change(17, 3)), "!a prefix information option of 32 octets, length 3"},
		"a prefix of length 0":       {datagram(newNDUserOption, change(18, 0)), "!a prefix of length 0"},
		"a prefix of length 129":     {datagram(newNDUserOption, change(18, 129)), "!a prefix of length 129"},
		"neither flag":               {datagram(newNDUserOption, change(19, 0)), want},
		"preferred longer than valid": {datagram(newNDUserOption, change(20, 0, 0, 0, 1)),
			"!preferred for 5m0s, valid for 1s"},
		"for ever":              {datagram(newNDUserOption, change(20, 0xff, 0xff, 0xff, 0xff)), "fe80::5814:5dff:feea:7fb 2001:db8:a::/64 1193046h28m15s"},
		"bits behind":           {datagram(newNDUserOption, change(47, 1)), want},
		"link-local":            {datagram(newNDUserOption, change(32, 0xfe, 0x80)), "!prefix fe80:"},
		"multicast":             {datagram(newNDUserOption, change(32, 0xff, 0x02)), "!prefix ff02:"},
		"unspecified":           {datagram(newNDUserOption, change(32, 0, 0, 0, 0, 0, 0)), "!prefix ::/64"},
		"IPv4-mapped":           {datagram(newNDUserOption, mapped), "!prefix ::ffff:192.0.2.0/128"},
		"no router":             {datagram(newNDUserOption, good[:48]), "!a message about an option names no router"},
		"another attribute":     {datagram(newNDUserOption, change(50, 2)), "!a message about an option names no router"},
		"a cut attribute":       {datagram(newNDUserOption, change(48, 24)), "!an attribute of 24 octets: cut short"},
		"an attribute of 0":     {datagram(newNDUserOption, change(48, 0)), "!an attribute of 0 octets: cut short"},
		"a global router":       {datagram(newNDUserOption, change(52, 0x20, 0x01)), "!an advertisement from 2001:"},
		"a cut message":         {datagram(newNDUserOption, good[:10]), "!a message about an option: cut short"},
		"good, then a cut one":  {datagram(newNDUserOption, good, good[:10]), want + "!a message about an option: cut short"},
		"longer than it is":     {datagram(newNDUserOption, good)[:60], "!a netlink message of 84 octets: cut short"},
		"shorter than a header": {append([]byte{8, 0, 0, 0}, make([]byte, 12)...), "!a netlink message of 8 octets: cut short"},
	} {
		as, err := decodeDatagram(c.in)
		var words []string
		for _, a := range as {
			if a.link != 2 {
				t.Errorf("%s: link %d", name, a.link)
			}
			words = append(words, a.router.String()+" "+a.prefix.String()+" "+a.valid.String())
		}
		got := strings.Join(words, ", ")
		if err != nil {
			got += "!" + err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(c.want, "!") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// FuzzDecodeDatagram: whatever comes, what is taken of it can be an announcement.
func FuzzDecodeDatagram(f *testing.F) {
	f.Add(datagram(newNDUserOption, bytesOf(f, real)))
	f.Add(datagram(newNDUserOption, bytesOf(f, real), bytesOf(f, real)[:30]))
	f.Fuzz(func(t *testing.T, b []byte) {
		as, err := decodeDatagram(b)
		if errors.Is(err, errOther) {
			t.Error("what is another option is no error")
		}
		if len(as) > len(b)/sizePrefixInfo {
			t.Errorf("%d announcements in %d octets", len(as), len(b))
		}
		for _, a := range as {
			usable := a.prefix.IsValid() && a.prefix == a.prefix.Masked() && a.prefix.Bits() > 0 && a.prefix.Addr().Is6()
			if !usable || a.link <= 0 || !a.router.IsLinkLocalUnicast() || a.router.Zone() != "" || a.valid < 0 || a.valid > infinity {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestWhatCanBeNoRouter also where the kernel would not let it through.
func TestWhatCanBeNoRouter(t *testing.T) {
	for a, ok := range map[string]bool{"fe80::1": true, "febf::1": true, "::": false, "fec0::1": false, "2001:db8::1": false, "ff02::1": false, "169.254.0.1": false, "::ffff:169.254.0.1": false} {
		if err := checkRouter(netip.MustParseAddr(a)); (err == nil) != ok {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, _, err := decodePrefixInfo([]byte{3}); !errors.Is(err, errOther) {
		t.Errorf("one octet: %v", err)
	}
	if infinity <= 0 || infinity/time.Second != 1<<32-1 {
		t.Error("infinity does not fit")
	}
}
