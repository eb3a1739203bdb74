package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func key(link int, name rpdb.SettingName) rpdb.SettingKey {
	return rpdb.SettingKey{Link: link, Name: name}
}

func setOp(link int, name rpdb.SettingName, value int) rpdb.Op {
	return rpdb.Op{Verb: rpdb.SetSetting, Setting: rpdb.Setting{SettingKey: key(link, name), Value: value}}
}

func backOp(link int, name rpdb.SettingName, value, ours int) rpdb.Op {
	o := setOp(link, name, value)
	o.Verb, o.Ours = rpdb.PutBack, ours
	return o
}

// plain gives a namespace's links, also those to come, the kernel's own defaults instead of the machine's.
func plain(t testing.TB, ns *testnet.NS, links ...string) {
	t.Helper()
	for _, link := range append(links, "all", "default") {
		for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter", "src_valid_mark"} {
			testnet.Must(t, ns.Sysctl("net/ipv4/conf/"+link+"/"+name, "0"))
		}
	}
}

// wantSetting looks at the snapshot, and at the file by another way.
func wantSetting(t *testing.T, ns *testnet.NS, k *Kernel, link string, name rpdb.SettingName, want int) {
	t.Helper()
	i := rpdb.AllLinks
	if link != "all" {
		i = index(t, ns, link)
	}
	s := snapshot(t, k)
	if got, known := s.Setting(key(i, name)); got != want || !known {
		t.Errorf("%s of %s in the snapshot: %d, known %v, want %d", name, link, got, known, want)
	}
	ns.Do(t, func() {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/" + string(name))
		if err != nil || strings.TrimSpace(string(text)) != string(rune('0'+want)) {
			t.Errorf("%s of %s: %q, %v, want %d", name, link, text, err, want)
		}
	})
}

// TestSettings: they are read and written in the namespace in which the kernel was opened, and this test is not in it; and a
// link of another namespace that has the same name keeps its own.
func TestSettings(t *testing.T) {
	ns, other := uplinks(t), uplinks(t)
	plain(t, ns, "wan0", "wan1")
	plain(t, other, "wan0", "wan1")
	k, k2 := open(t, ns, ours), open(t, other, ours)
	wan0 := index(t, ns, "wan0")
	for name, value := range map[rpdb.SettingName]int{rpdb.ARPIgnore: 1, rpdb.ARPAnnounce: 2, rpdb.RPFilter: 2} {
		wantSetting(t, ns, k, "wan0", name, 0)
		apply(t, k, setOp(wan0, name, value))
		wantSetting(t, ns, k, "wan0", name, value)
		wantSetting(t, ns, k, "wan1", name, 0)
		wantSetting(t, ns, k, "all", name, 0)
		wantSetting(t, other, k2, "wan0", name, 0)
	}
	// A link keeps its values under another name, whose dot is no path, and is found by its index.
	testnet.Must(t, ns.Rename("wan0", "wan.7"))
	wantSetting(t, ns, k, "wan.7", rpdb.ARPIgnore, 1)
	apply(t, k, backOp(wan0, rpdb.ARPIgnore, 0, 1))
	wantSetting(t, ns, k, "wan.7", rpdb.ARPIgnore, 0)
	// What somebody else has set since is his.
	apply(t, k, backOp(wan0, rpdb.ARPAnnounce, 0, 1))
	wantSetting(t, ns, k, "wan.7", rpdb.ARPAnnounce, 2)
}

// TestSettingsWhileNamesChange: two links swap their names all the time, and what is set on the one is never set on the other.
func TestSettingsWhileNamesChange(t *testing.T) {
	ns := uplinks(t)
	plain(t, ns, "wan0", "wan1")
	k := open(t, ns, ours)
	wan0, wan1 := index(t, ns, "wan0"), index(t, ns, "wan1")
	swapped := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 400 && err == nil; i++ {
			err = errors.Join(ns.Rename("wan0", "spare"), ns.Rename("wan1", "wan0"), ns.Rename("spare", "wan1"))
		}
		swapped <- err
	}()
	done := 0
	for running := true; running; {
		select {
		case err := <-swapped:
			testnet.Must(t, err)
			running = false
		default:
			if k.Apply(context.Background(), []rpdb.Op{setOp(wan0, rpdb.ARPAnnounce, 1)})[0] == nil {
				done++
			}
		}
	}
	s := snapshot(t, k)
	if v, known := s.Setting(key(wan1, rpdb.ARPAnnounce)); v != 0 || !known {
		t.Errorf("the other link has %d, known %v", v, known)
	}
	if v, _ := s.Setting(key(wan0, rpdb.ARPAnnounce)); v != 1 || done == 0 {
		t.Errorf("the link has %d after %d writes", v, done)
	}
}

func TestSettingsRefused(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	wan0 := index(t, ns, "wan0")
	for _, c := range []struct {
		op   rpdb.Op
		want string // empty: it is done
	}{
		{setOp(rpdb.AllLinks, rpdb.ARPIgnore, 1), `set "net.ipv4.conf.all.arp_ignore = 1": what counts for all links is not ours to write`},
		{setOp(999, rpdb.ARPIgnore, 1), `set "net.ipv4.conf.if999.arp_ignore = 1": no such device`},
		{setOp(wan0, "nonsense", 1), `set "net.ipv4.conf.wan0.nonsense = 1": no such file or directory`},
		{setOp(wan0, rpdb.ARPIgnore, -1<<40), `invalid argument`},
		{backOp(999, rpdb.ARPIgnore, 0, 1), ""},
	} {
		err := k.Apply(context.Background(), []rpdb.Op{c.op})[0]
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.op.Verb, err, c.want)
		}
	}
}

// TestSettingsReadOnly: where /proc/sys is read-only, as in containers, the settings are read, and what writes them says what to do.
func TestSettingsReadOnly(t *testing.T) {
	ns := uplinks(t)
	plain(t, ns, "wan0", "wan1")
	wan0 := index(t, ns, "wan0")
	opened := make(chan *Kernel)
	go func() {
		defer close(opened)
		runtime.LockOSThread() // for good: the thread ends with its mounts
		for _, err := range []error{
			unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS),
			unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND|unix.MS_REC, ""),
			unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
			unix.Setns(ns.Fd(), unix.CLONE_NEWNET),
		} {
			if err != nil {
				t.Error(err)
				return
			}
		}
		k, err := Open(ours, zaptest.NewLogger(t))
		if err != nil {
			t.Error(err)
			return
		}
		opened <- k
	}()
	k, ok := <-opened
	if !ok {
		return
	}
	defer k.Close()
	wantSetting(t, ns, k, "wan0", rpdb.ARPIgnore, 0)
	errs := k.Apply(context.Background(), []rpdb.Op{setOp(wan0, rpdb.ARPIgnore, 1), addRule(rule(4400, "192.0.1.10/32", 7001))})
	const want = `set "net.ipv4.conf.wan0.arp_ignore = 1": /proc/sys is read-only here: make it writable for uplinkd ` +
		`(ProtectKernelTunables=no in its unit, or the container's option for that), or set it outside: read-only file system`
	if errs[0] == nil || errs[0].Error() != want {
		t.Errorf("%v, want %s", errs[0], want)
	}
	if errs[1] != nil {
		t.Errorf("the rule beside it: %v", errs[1])
	}
}

// TestSettingsMissing: without /proc there are only those that netlink tells.
func TestSettingsMissing(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	testnet.Must(t, k.settings.close())
	k.settings = settings{missing: fs.ErrNotExist}
	s := snapshot(t, k)
	if _, known := s.Setting(key(index(t, ns, "wan0"), rpdb.RPFilter)); !known {
		t.Error("rp_filter is not known")
	}
	if _, known := s.Setting(key(index(t, ns, "wan0"), rpdb.ARPIgnore)); known {
		t.Error("arp_ignore is known")
	}
	if err := k.Apply(context.Background(), []rpdb.Op{setOp(index(t, ns, "wan0"), rpdb.ARPIgnore, 1)})[0]; err == nil {
		t.Error("it was written")
	}
}

// TestSettingsOfWhom: what is read for which link.
func TestSettingsOfWhom(t *testing.T) {
	ns := uplinks(t)
	plain(t, ns, "wan0", "wan1")
	testnet.Must(t, testnet.Veth(ns, "bare", ns, "bare2"))
	k := open(t, ns, ours)
	names := func(link string) (out []string) {
		i := rpdb.AllLinks
		if link != "all" {
			i = index(t, ns, link)
		}
		s := snapshot(t, k)
		for _, name := range []rpdb.SettingName{rpdb.ARPIgnore, rpdb.ARPAnnounce, rpdb.RPFilter, rpdb.SrcValidMark} {
			if _, known := s.Setting(key(i, name)); known {
				out = append(out, string(name))
			}
		}
		return out
	}
	want := func(link, want string) {
		t.Helper()
		if got := strings.Join(names(link), " "); got != want {
			t.Errorf("%s has %q, want %q", link, got, want)
		}
	}
	want("lo", "rp_filter")
	want("bare", "rp_filter")
	want("wan0", "arp_ignore arp_announce rp_filter")
	want("all", "arp_ignore arp_announce rp_filter")
	testnet.Must(t, ns.Sysctl("net/ipv4/conf/wan1/rp_filter", "1"))
	want("wan0", "arp_ignore arp_announce rp_filter")
	want("wan1", "arp_ignore arp_announce rp_filter src_valid_mark")
	want("all", "arp_ignore arp_announce rp_filter src_valid_mark")
}

// TestARPLinksBounded: of very many links only those count that are likely to be uplinks.
func TestARPLinksBounded(t *testing.T) {
	var s rpdb.Snapshot
	add := func(i int, cidr string) {
		s.Links = append(s.Links, rpdb.Link{Index: i})
		s.Addresses = append(s.Addresses, rpdb.Address{Link: i, Prefix: prefix(cidr)})
	}
	for i := 1; i <= maxARPLinks; i++ {
		add(i, fmt.Sprintf("10.%d.0.1/24", i))
	}
	if n := len(arpLinks(&s)); n != maxARPLinks {
		t.Errorf("%d of %d", n, maxARPLinks)
	}
	add(100, "10.7.0.2/16")
	s.Routes = []rpdb.Route{route(rpdb.TableMain, "0.0.0.0/0", "10.3.0.254", 3), route(rpdb.TableMain, "10.4.0.0/24", "", 4)}
	var got []int
	for _, l := range arpLinks(&s) {
		got = append(got, l.Index)
	}
	if d := diff([]int{3, 7, 100}, got); d != "" {
		t.Error(d)
	}
}

// TestNeighbors: of links that share a subnet the gateways are told, and of no others.
func TestNeighbors(t *testing.T) {
	ns, far := testnet.New(t), testnet.New(t)
	for _, dev := range []string{"wan0", "wan1", "apart"} {
		testnet.Must(t, testnet.Veth(ns, dev, far, dev))
	}
	testnet.Must(t, ns.Addr("wan0", "192.0.2.10/24"), ns.Addr("wan1", "192.0.2.11/25"), ns.Addr("apart", "198.51.100.10/24"),
		ns.Route("default via 192.0.2.1 dev wan0"), ns.Route("default via 198.51.100.1 dev apart metric 5"))
	add := func(dev, ip, mac string, state int) {
		t.Helper()
		n := &netlink.Neigh{LinkIndex: index(t, ns, dev), Family: unix.AF_INET, State: state, IP: netip.MustParseAddr(ip).AsSlice()}
		var err error
		if n.HardwareAddr, err = net.ParseMAC(mac); err != nil {
			t.Fatal(err)
		}
		ns.Do(t, func() { testnet.Must(t, netlink.NeighSet(n)) })
	}
	add("wan0", "192.0.2.1", "02:00:00:00:00:01", netlink.NUD_PERMANENT)
	add("wan1", "192.0.2.1", "02:00:00:00:00:02", netlink.NUD_STALE)
	add("wan1", "192.0.2.77", "02:00:00:00:00:77", netlink.NUD_PERMANENT) // no gateway
	add("apart", "198.51.100.1", "02:00:00:00:00:03", netlink.NUD_PERMANENT)
	got := snapshot(t, open(t, ns, ours)).Neighbors
	want := []rpdb.Neighbor{
		{Link: index(t, ns, "wan0"), Addr: addr("192.0.2.1"), MAC: "02:00:00:00:00:01"},
		{Link: index(t, ns, "wan1"), Addr: addr("192.0.2.1"), MAC: "02:00:00:00:00:02"},
	}
	if d := diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestFiltered: the counter is that of the namespace, and is read where a filter is strict.
func TestFiltered(t *testing.T) {
	ns := uplinks(t)
	plain(t, ns, "wan0", "wan1")
	k := open(t, ns, ours)
	if n := snapshot(t, k).Filtered; n != 0 {
		t.Errorf("%d packets in a new namespace", n)
	}
}

func TestNetstatCounter(t *testing.T) {
	const good = "TcpExt: A IPReversePathFilter C\nTcpExt: 1 22 3\nIpExt: A IPReversePathFilter\nIpExt: 7 8\n"
	for text, want := range map[string]uint64{
		good:                                     22,
		"":                                       0,
		"\n\n" + good:                            22,
		"TcpExt: A B\nTcpExt: 1 2\n":             0,
		"TcpExt: A IPReversePathFilter\n":        0,
		"TcpExt: IPReversePathFilter\nTcpExt:\n": 0,
		"TcpExt: IPReversePathFilter\nTcpExt: many\n": 0,
		"IpExt: IPReversePathFilter\nIpExt: 5\n":      0,
	} {
		if got := netstatCounter([]byte(text), "TcpExt:", "IPReversePathFilter"); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// TestDecodeNetconf: rp_filter of a link and of all; the template's is left out, and so is what a message does not say.
func TestDecodeNetconf(t *testing.T) {
	message := func(index int32, values ...uint32) []byte {
		b := appendUint32(make([]byte, sizeofNetconfmsg), netconfIfindex, uint32(index))
		for _, v := range values {
			b = appendUint32(b, netconfRPFilter, v)
		}
		return b
	}
	set := func(link, value int) []rpdb.Setting {
		return []rpdb.Setting{{SettingKey: key(link, rpdb.RPFilter), Value: value}}
	}
	for name, c := range map[string]struct {
		message []byte
		want    []rpdb.Setting
	}{
		"a link":                 {message(2, 1), set(2, 1)},
		"off":                    {message(1, 0), set(1, 0)},
		"all":                    {message(netconfAll, 2), set(rpdb.AllLinks, 2)},
		"the template":           {message(-2, 1), nil},
		"no link":                {message(0, 1), nil},
		"a link without a value": {message(2), nil},
	} {
		got, err := decodeNetconf(nil, c.message)
		if d := diff(c.want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}

// TestARPLinksSpeakARP: links with no ARP, with no address of the host's own, and parts of another link are left out.
func TestARPLinksSpeakARP(t *testing.T) {
	s := rpdb.Snapshot{Links: []rpdb.Link{
		{Index: 1, Loopback: true}, {Index: 2}, {Index: 3, PointToPoint: true}, {Index: 4, Master: 2}, {Index: 5}, {Index: 6},
	}}
	for i, cidr := range []string{"10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24", "10.0.3.1/24", "2001:db8::1/64"} {
		s.Addresses = append(s.Addresses, rpdb.Address{Link: i + 1, Prefix: prefix(cidr)})
	}
	s.Addresses = append(s.Addresses, rpdb.Address{Link: 6, Prefix: prefix("169.254.0.1/16"), Scope: rpdb.ScopeLink})
	if got := arpLinks(&s); len(got) != 1 || got[0].Index != 2 {
		t.Errorf("%+v, want link 2 alone", got)
	}
}

func FuzzDecodeNetconf(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x08\x00\x01\x00\x02\x00\x00\x00\x08\x00\x03\x00\x01\x00\x00\x00"))
	f.Add([]byte("\x02\x00\x00\x00\x08\x00\x01\x00\xff\xff\xff\xff\x08\x00\x03\x00\x02\x00\x00\x00"))
	f.Add([]byte("\x02\x00\x00\x00\x08\x00\x01\x00\xfe\xff\xff\xff\x08\x00\x03\x00\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := decodeNetconf(nil, b)
		if len(out) > 1 || err != nil && out != nil {
			t.Errorf("%v with %v", err, out)
		}
		for _, s := range out {
			if s.Link < 0 || s.Name != rpdb.RPFilter {
				t.Errorf("%+v", s)
			}
		}
	})
}

func FuzzDecodeNeighbor(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x08\x00\x01\x00\xc0\x00\x02\x01\x0a\x00\x02\x00\x02\x00\x00\x00\x00\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok, err := decodeNeighbor(b)
		if ok && (err != nil || !n.Addr.Is4() || n.MAC == "") {
			t.Errorf("%v with %+v", err, n)
		}
	})
}

// BenchmarkSettings is what the settings of 100 links cost a snapshot.
func BenchmarkSettings(b *testing.B) {
	ns := testnet.New(b)
	for i := range 50 {
		name := "a" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		testnet.Must(b, testnet.Veth(ns, name, ns, name+"x"))
		octet := string(rune('0'+i/10)) + string(rune('0'+i%10))
		testnet.Must(b, ns.Addr(name, "10.1"+octet+".0.1/24"), ns.Addr(name+"x", "10.2"+octet+".0.1/24"))
	}
	k := open(b, ns, ours)
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			snapshot(b, k)
		}
	})
	l := look{Snapshot: snapshot(b, k)}
	b.Run("settings", func(b *testing.B) {
		for b.Loop() {
			l.Settings = l.Settings[:0]
			testnet.Must(b, k.listSettings(&l))
		}
	})
}
