package scenario

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/fakekernel"
	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// world is a host that a script happens to, on either kernel.
type world interface {
	// Link makes a link of a kind: "ppp", "tun", "bridge", "macvlan PARENT", or "" for Ethernet, which may be "index N".
	Link(name, kind string) error
	// Master puts a link into a bridge, or takes it out: "".
	Master(dev, master string) error
	// Carrier has the other end of an Ethernet link go and come.
	Carrier(dev string, on bool) error
	Up(dev string) error
	Down(dev string) error
	Delete(dev string) error
	Rename(dev, name string) error
	Addr(dev, cidr string) error
	Peer(dev, addr, peer string) error
	DelAddr(dev, cidr string) error
	DelPeer(dev, addr, peer string) error
	State(dev, cidr, state string) error // as the command addr has it
	Promote(dev string) error
	Nexthop(verb, text string) error             // as the command nexthop has it
	RouteByNexthop(text string, id uint32) error // text has no next hop and no link
	Multipath(text string, hops ...string) error // each hop is "via ADDR dev DEV"
	Index(dev string) (int, error)
	// Sysctl writes net.ipv4.conf.DEV.NAME, and GetSysctl reads it.
	Sysctl(dev, name string, value int) error
	GetSysctl(dev, name string) (int, error)
	Route(verb, text string) error
	Rule(verb, text string) error
	// FlushRules is "ip rule flush" for both families, or "ip rule flush proto N" where the protocol is not 0.
	FlushRules(protocol uint8) error
	// Start gives the agent its kernel, and what ends that again.
	Start() (agent.Kernel, func(), error)
	// Picture is all that the kernel has, and the names of links.
	Picture() (rules []rpdb.Rule, routes []rpdb.Route, name func(int) string, err error)
}

// family is that of a rule's text: that of its addresses, or inet6 where the text begins with "-6".
func family(text string) (rpdb.Family, string) {
	if rest, ok := strings.CutPrefix(text, "-6 "); ok {
		return rpdb.IPv6, rest
	}
	return rpdb.IPv4, text
}

// fakeWorld is the kernel in memory.
type fakeWorld struct{ *fakekernel.Kernel }

func newFakeWorld() world { return fakeWorld{fakekernel.New()} }

func (w fakeWorld) Link(name, kind string) error {
	l := rpdb.Link{Name: name}
	switch kind {
	case "ppp":
		l.Type, l.PointToPoint = testnet.ARPHRDPPP, true
	case "tun":
		l.Kind, l.Type, l.PointToPoint = kind, unix.ARPHRD_NONE, true
	}
	switch k, arg, _ := strings.Cut(kind, " "); k {
	case "bridge", "macvlan":
		l.Kind = k
	case "index":
		l.Kind = "veth"
		index, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		l.Index = index
	}
	w.AddLink(l)
	return nil
}

func (w fakeWorld) Master(dev, master string) error {
	if master == "" {
		return w.Enslave(dev, 0)
	}
	index, err := w.Index(master)
	if err != nil {
		return err
	}
	return w.Enslave(dev, index)
}

func (w fakeWorld) DelPeer(dev, addr, _ string) error { return w.DelAddr(dev, addr) }

func (w fakeWorld) Sysctl(dev, name string, value int) error {
	return w.SetSetting(dev, rpdb.SettingName(name), value)
}

func (w fakeWorld) GetSysctl(dev, name string) (int, error) {
	return w.GetSetting(dev, rpdb.SettingName(name))
}

func (w fakeWorld) Route(verb, text string) error {
	r, err := testnet.ParseRoute(text, w.Index)
	if err != nil {
		return err
	}
	switch verb {
	case "add":
		return w.PutRoute(r, false)
	case "replace":
		return w.PutRoute(r, true)
	}
	return w.DelRoute(r)
}

func (w fakeWorld) Rule(verb, text string) error {
	f, text := family(text)
	r, err := testnet.ParseRule(text, f)
	if err != nil {
		return err
	}
	given := testnet.HasPriority(text)
	switch {
	case verb == "add" && given:
		return w.PutRule(r)
	case verb == "add":
		return w.PlaceRule(r)
	}
	w.DelRules(func(o rpdb.Rule) bool {
		if !given {
			r.Priority = o.Priority
		}
		return o == r
	})
	return nil
}

func (w fakeWorld) FlushRules(protocol uint8) error {
	w.DelRules(func(r rpdb.Rule) bool { return flushed(r, protocol) })
	return nil
}

// flushed says whether ip(8) would flush a rule: never those of priority 0.
func flushed(r rpdb.Rule, protocol uint8) bool {
	return r.Priority != 0 && (protocol == 0 || r.Protocol == protocol)
}

func (w fakeWorld) Start() (agent.Kernel, func(), error) { return w.Kernel, func() {}, nil }

func (w fakeWorld) Picture() ([]rpdb.Rule, []rpdb.Route, func(int) string, error) {
	s, err := w.Snapshot(context.Background())
	return s.Rules, s.Routes, s.LinkName, err
}

// realWorld is a network namespace; each Ethernet link is one end of a pair whose other end is in another namespace.
type realWorld struct {
	t         testing.TB
	host, far *testnet.NS
}

func newRealWorld(t testing.TB) world {
	w := &realWorld{t: t, host: testnet.New(t), far: testnet.New(t)}
	plainSettings(t, w.host)
	return w
}

func (w *realWorld) Link(name, kind string) error {
	types := map[string]int{"ppp": testnet.ARPHRDPPP, "tun": unix.ARPHRD_NONE}
	if types[kind] == 0 {
		return w.ethernet(name, kind)
	}
	f, err := w.host.Tun(name, types[kind])
	if errors.Is(err, fs.ErrPermission) {
		testnet.Skip(w.t, "/dev/net/tun is not for this user")
	}
	if err != nil {
		return err
	}
	w.t.Cleanup(func() { _ = f.Close() })
	return w.host.Up(name)
}

// ethernet makes a link that is no tun device.
func (w *realWorld) ethernet(name, kind string) error {
	switch k, arg, _ := strings.Cut(kind, " "); k {
	case "bridge":
		return w.host.Bridge(name)
	case "macvlan":
		return w.host.Macvlan(name, arg)
	case "index":
		index, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return testnet.VethIndex(w.host, name, index, w.far, name)
	}
	return testnet.Veth(w.host, name, w.far, name)
}

func (w *realWorld) Master(dev, master string) error { return w.host.Master(dev, master) }

func (w *realWorld) Carrier(dev string, on bool) error {
	if on {
		return w.far.Up(dev)
	}
	return w.far.Down(dev)
}

func (w *realWorld) Up(dev string) error                  { return w.host.Up(dev) }
func (w *realWorld) Down(dev string) error                { return w.host.Down(dev) }
func (w *realWorld) Delete(dev string) error              { return w.host.Delete(dev) }
func (w *realWorld) Rename(dev, name string) error        { return w.host.Rename(dev, name) }
func (w *realWorld) Addr(dev, cidr string) error          { return w.host.Addr(dev, cidr) }
func (w *realWorld) Peer(dev, addr, peer string) error    { return w.host.Peer(dev, addr, peer) }
func (w *realWorld) DelAddr(dev, cidr string) error       { return w.host.DelAddr(dev, cidr) }
func (w *realWorld) DelPeer(dev, addr, peer string) error { return w.host.DelPeer(dev, addr, peer) }
func (w *realWorld) Index(dev string) (int, error)        { return w.host.Index(dev) }

func (w *realWorld) Route(verb, text string) error {
	switch verb {
	case "add":
		return w.host.Route(text)
	case "replace":
		return w.host.ReplaceRoute(text)
	}
	return w.host.DelRoute(text)
}

func (w *realWorld) Rule(verb, text string) error {
	f, text := family(text)
	if verb == "add" {
		return w.host.Rule(f, text)
	}
	return w.host.DelRule(f, text)
}

func (w *realWorld) FlushRules(protocol uint8) error {
	rules, err := w.host.Rules()
	if err != nil {
		return err
	}
	for _, r := range slices.DeleteFunc(rules, func(r rpdb.Rule) bool { return !flushed(r, protocol) }) {
		text := strings.TrimPrefix(r.String(), fmt.Sprintf("%d: ", r.Priority))
		if err := w.host.DelRule(r.Family, fmt.Sprintf("%s priority %d proto %d", strings.ReplaceAll(text, "from all ", ""), r.Priority, r.Protocol)); err != nil {
			return err
		}
	}
	return nil
}

func (w *realWorld) Start() (agent.Kernel, func(), error) {
	var k *kernel.Kernel
	err := w.host.Run(func() (err error) {
		k, err = kernel.Open(config.DefaultProtocol, zap.NewNop())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return k, func() {
		cancel()
		<-done
		_ = k.Close()
	}, nil
}

func (w *realWorld) Picture() ([]rpdb.Rule, []rpdb.Route, func(int) string, error) {
	rules, err := w.host.Rules()
	if err != nil {
		return nil, nil, nil, err
	}
	routes, err := w.host.Routes()
	if err != nil {
		return nil, nil, nil, err
	}
	name, err := w.host.LinkNames()
	return rules, routes, name, err
}
