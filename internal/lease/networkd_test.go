package lease_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/lease"
)

// TestNetworkdFiles reads the recorded lease files of systemd-networkd 252.
func TestNetworkdFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "networkd", "*.lease"))
	if err != nil || len(files) < 19 {
		t.Fatalf("%d records, %v", len(files), err)
	}
	var got strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\n    %s\n", strings.TrimSuffix(filepath.Base(f), ".lease"), text(lease.ParseNetworkd(7, "wan0", b)))
	}
	golden := filepath.Join("testdata", "networkd.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
		t.Error(d)
	}
}

// networkdBase is a good lease file, its lines separated by '|'; what follows it in a test is added.
const networkdBase = "# This is private data. Do not parse.|ADDRESS=192.0.2.9|NETMASK=255.255.255.0|ROUTER=192.0.2.1|LIFETIME=60|"

// without is networkdBase less the line of a key.
func without(key string) string {
	var b strings.Builder
	for _, l := range strings.SplitAfter(networkdBase, "|") {
		if !strings.HasPrefix(l, key+"=") {
			b.WriteString(l)
		}
	}
	return b.String()
}

func TestNetworkdValues(t *testing.T) {
	const head = "networkd lease file: replace"
	const plain = head + "\n    + 192.0.2.9/24 routers [192.0.2.1] gateways [192.0.2.1]"
	for _, c := range []struct{ name, file, want string }{
		{"a good one", networkdBase, plain + " for 1m0s"},
		{"nothing", "", "networkd lease file: ignore (no usable address)\n    ! leased address \"\": not an address"},
		{"what is not needed", networkdBase + "HOSTNAME=$(id)|DOMAINNAME=x\\|ROOT_PATH=\\x0a|OPTION_249=18c0|junk|=|", plain + " for 1m0s"},
		{"no end of line", strings.TrimSuffix(networkdBase, "|"), plain + " for 1m0s"},
		{"twice", networkdBase + "ROUTER=192.0.2.66|ADDRESS=192.0.2.66|",
			plain + " for 1m0s\n    ! ROUTER is there twice\n    ! ADDRESS is there twice"},
		{"loopback", "ADDRESS=127.0.0.1|", "networkd lease file: ignore (no usable address)\n    ! leased address \"127.0.0.1\": loopback"},
		{"quoted", `ADDRESS="192.0.2.9"|`, `networkd lease file: ignore (no usable address)` + "\n    ! leased address \"\\\"192.0.2.9\\\"\": not an address"},
		{"router is itself", without("ROUTER") + "ROUTER=192.0.2.9|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! router \"192.0.2.9\": the host's own address"},
		{"no router", without("ROUTER"), head + "\n    + 192.0.2.9/24 gateways [] for 1m0s"},
		{"router too long", without("ROUTER") + "ROUTER=" + strings.Repeat("192.0.2.1 ", 500) + "|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! ROUTER: too long"},
		{"router as long as may be", without("ROUTER") + "ROUTER=192.0.2.1" + strings.Repeat(" ", lease.MaxNetworkdValue-len("192.0.2.1")) + "|", plain + " for 1m0s"},
		{"router one longer", without("ROUTER") + "ROUTER=192.0.2.1" + strings.Repeat(" ", lease.MaxNetworkdValue+1-len("192.0.2.1")) + "|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! ROUTER: too long"},
		{"twice, the first too long", "ADDRESS=" + strings.Repeat("192.0.2.9 ", 500) + "|ADDRESS=192.0.2.66|",
			"networkd lease file: ignore (no usable address)\n    ! ADDRESS is there twice\n    ! leased address \"\": not an address"},
		{"name servers", networkdBase + "DNS=192.0.2.53 0.0.0.0|",
			plain + " dns [192.0.2.53] for 1m0s\n    ! name server \"0.0.0.0\": unspecified"},
		{"option 121", networkdBase + "CLASSLESS_ROUTES=0.0.0.0/0,192.0.2.7 10.1.2.3/8,192.0.2.8|",
			head + "\n    + 192.0.2.9/24 classless (0.0.0.0/0 via 192.0.2.7, 10.0.0.0/8 via 192.0.2.8) gateways [192.0.2.7] for 1m0s"},
		{"option 121 without a default", networkdBase + "CLASSLESS_ROUTES=10.0.0.0/8,192.0.2.8|",
			head + "\n    + 192.0.2.9/24 classless (10.0.0.0/8 via 192.0.2.8) gateways [] for 1m0s"},
		{"option 121 cut short", networkdBase + "CLASSLESS_ROUTES=0.0.0.0/0,192.0.2.7 10.0.0.0/8|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! option 121 \"0.0.0.0/0,192.0.2.7 10.0.0.0/8\": not in its form: refused, no default"},
		{"option 121 of another family", networkdBase + "CLASSLESS_ROUTES=::/0,fe80::1|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! option 121 \"::/0,fe80::1\": not in its form: refused, no default"},
		{"option 33", networkdBase + "STATIC_ROUTES=10.0.0.0/8,192.0.2.9|", plain + " for 1m0s"},
		{"before 251, with a default", networkdBase + "ROUTES=0.0.0.0/0,192.0.2.7|",
			head + "\n    + 192.0.2.9/24 classless (0.0.0.0/0 via 192.0.2.7) gateways [192.0.2.7] for 1m0s"},
		{"before 251, option 33 or 121", networkdBase + "ROUTES=10.0.0.0/8,192.0.2.7|", plain + " for 1m0s"},
		{"before 251, nonsense", networkdBase + "ROUTES=10.0.0.0|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s\n    ! option 121 \"10.0.0.0\": not in its form: refused, no default"},
		{"before 251, too long", networkdBase + "ROUTES=" + strings.Repeat("10.0.0.0/8,192.0.2.7 ", 500) + "|",
			head + "\n    + 192.0.2.9/24 gateways [] REFUSED for 1m0s keep-gateways\n    ! ROUTES: too long"},
		{"both", networkdBase + "CLASSLESS_ROUTES=0.0.0.0/0,192.0.2.7|ROUTES=0.0.0.0/0,192.0.2.8|",
			head + "\n    + 192.0.2.9/24 classless (0.0.0.0/0 via 192.0.2.7) gateways [192.0.2.7] for 1m0s"},
		{"infinite", without("LIFETIME") + "LIFETIME=4294967295|", plain + " for ever"},
		{"infinity", without("LIFETIME") + "LIFETIME=infinity|", plain + " for ever"},
		{"a time span", without("LIFETIME") + "LIFETIME=1d 2h 3min 4s|", plain + " for 26h3m4s"},
		{"a long one", without("LIFETIME") + "LIFETIME=1y 1month 1w|", plain + " for 9664h30m0s"},
		{"a time span of nonsense", without("LIFETIME") + "LIFETIME=1d 2x|", plain + "\n    ! lease time \"1d 2x\": not a time span"},
		{"a long time span", without("LIFETIME") + "LIFETIME=200y|", plain + "\n    ! lease time \"200y\": more than 32 bits of seconds"},
		{"no lifetime", without("LIFETIME"), plain},
		{"huge", networkdBase + strings.Repeat("#", lease.MaxNetworkdFile),
			"networkd lease file: ignore (too long)\n    ! lease file of 65643 bytes, at most 65536 are taken"},
	} {
		ev := lease.ParseNetworkd(7, "wan0", []byte(strings.ReplaceAll(c.file, "|", "\n")))
		if d := cmp.Diff(c.want, text(ev)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if ev.Index != 7 || ev.Interface != "wan0" {
			t.Errorf("%s: link %d %q", c.name, ev.Index, ev.Interface)
		}
	}
}

// FuzzNetworkd: whatever is in the file, ParseNetworkd does not panic, and what it gives holds to the promises of an event.
func FuzzNetworkd(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "networkd", "*.lease"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("ADDRESS=192.0.2.9\nLIFETIME=1d  s\nROUTES=0.0.0.0/0,192.0.2.7 1.2.3.4/33,x\nROUTER=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev := lease.ParseNetworkd(7, "wan0", b)
		if ev.Verb != lease.Replace && ev.Verb != lease.Ignore || len(ev.Leases) > 1 || ev.Verb == lease.Replace && len(ev.Leases) != 1 {
			t.Errorf("says %s", text(ev))
		}
		checkPromises(t, ev)
	})
}

// TestNetworkdOption121: the routes of a server, written as networkd writes them, are the routes of the lease.
func TestNetworkdOption121(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file strings.Builder
		file.WriteString(strings.ReplaceAll(networkdBase, "|", "\n") + "CLASSLESS_ROUTES=")
		var wire dhcpv4.Routes
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			r := drawRoute(t)
			fmt.Fprintf(&file, "%s,%s ", r.Dest, r.Router)
			wire = append(wire, r)
		}
		got := lease.ParseNetworkd(7, "wan0", []byte(file.String())).Leases[0]
		evs, err := lease.Parse(call("dhclient", base+"new_rfc3442_classless_static_routes="+decimal(wire.ToBytes())))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(evs[0].Lease.Classless, got.Classless, netips); d != "" {
			t.Error(d)
		}
	})
}

func drawRoute(t *rapid.T) *dhcpv4.Route {
	mask := net.CIDRMask(rapid.IntRange(8, 32).Draw(t, "bits"), 32)
	octets := rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, "octets")
	return &dhcpv4.Route{
		Dest:   &net.IPNet{IP: net.IPv4(10, octets[0], octets[1], octets[2]).Mask(mask), Mask: mask},
		Router: net.IPv4(192, 0, 2, rapid.ByteRange(10, 200).Draw(t, "gw")).To4(),
	}
}
