package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// crossed is a host on which nearly everything lies in everything: two cards in one subnet, a classless route around that and
// one inside it, a LAN inside the wide one, a virtual machine inside the subnet, a static route of the administrator's, and the
// client's own copies of the classless routes in main, by the other card.
const crossed = `
link eth0
link eth1
link lan0
link vm0
addr eth0 10.2.0.10/24
addr eth1 10.2.0.11/24
addr lan0 10.7.0.1/24
route add 10.2.0.77/32 dev vm0
route add 10.9.0.0/16 via 10.7.0.9 dev lan0
route add 10.0.0.0/8 via 10.2.0.1 dev eth1
route add 10.2.0.128/25 via 10.2.0.1 dev eth1
route add 10.5.0.0/16 via 10.2.0.1 dev eth1
start allowed
lease eth0 dhclient 10.2.0.10 10.2.0.1 10.0.0.0/8=10.2.0.7 10.2.0.128/25=10.2.0.8 10.5.0.0/16=10.2.0.9
lease eth1 dhclient 10.2.0.11 10.2.0.1
-- allowed --
[[uplink]]
interface = "eth0"
classless_routes = ["10.0.0.0/8"]
[[uplink]]
interface = "eth1"
`

// TestClasslessLookup asks the kernel where packets go: of two prefixes the longer one has them, whether the uplink's table or
// main knows it, and of two that are equal the uplink's.
func TestClasslessLookup(t *testing.T) {
	w := newRealWorld(t).(*realWorld)
	a := txtar.Parse([]byte(crossed))
	s := &script{t: t, w: w, files: map[string]string{"allowed": string(a.Files[0].Data)}, disk: &disk{}}
	defer s.stop()
	for line := range strings.Lines(strings.TrimSpace(string(a.Comment))) {
		if err := s.play(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	for _, c := range []struct{ from, to, want string }{
		{"10.2.0.10", "10.1.2.3", "eth0 10.2.0.7"},    // the wide classless route
		{"10.2.0.10", "10.5.2.3", "eth0 10.2.0.9"},    // a closer one, of which main has another uplink's copy
		{"10.2.0.10", "10.2.0.50", "eth0"},            // its own subnet, by its own card
		{"10.2.0.10", "10.2.0.200", "eth0 10.2.0.8"},  // the classless route inside its subnet
		{"10.2.0.10", "10.2.0.77", "vm0"},             // a virtual machine inside its subnet
		{"10.2.0.10", "10.7.0.50", "lan0"},            // the LAN inside the wide route
		{"10.2.0.10", "10.9.1.1", "lan0 10.7.0.9"},    // and what is behind it
		{"10.2.0.10", "203.0.113.1", "eth0 10.2.0.1"}, // all else
		{"10.2.0.11", "10.1.2.3", "eth1 10.2.0.1"},    // the other uplink has none of this: main as before
		{"10.2.0.11", "10.2.0.50", "eth1"},            //
		{"10.2.0.11", "10.2.0.200", "eth1 10.2.0.1"},  //
		{"10.7.0.1", "10.1.2.3", "eth1 10.2.0.1"},     // a LAN's address: main as before
		{"10.7.0.1", "10.5.2.3", "eth1 10.2.0.1"},     //
	} {
		r, err := w.host.RouteGet(testnet.Lookup{Dst: netip.MustParseAddr(c.to), Src: netip.MustParseAddr(c.from)})
		if err != nil {
			t.Errorf("from %s to %s: %v", c.from, c.to, err)
			continue
		}
		if got := w.way(t, r); got != c.want {
			t.Errorf("from %s to %s: by %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

// way is a route's link and next hop.
func (w *realWorld) way(t testing.TB, r rpdb.Route) string {
	name, err := w.host.LinkNames()
	if err != nil {
		t.Fatal(err)
	}
	if !r.Via.IsValid() {
		return name(r.OIF)
	}
	return fmt.Sprintf("%s %s", name(r.OIF), r.Via)
}
