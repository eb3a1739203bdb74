package uplink_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// dns gives the newest lease name servers.
func (h *host) dns(servers ...string) *host {
	l := &h.Leases[len(h.Leases)-1]
	for _, s := range servers {
		l.DNS = append(l.DNS, addr(s))
	}
	return h
}

// serversOf are the name servers of all uplinks, and what is said of those that were refused.
func serversOf(v uplink.View) string {
	var lines []string
	for _, u := range v.Uplinks {
		for _, s := range u.DNS {
			lines = append(lines, u.Name+" "+string(u.State)+" "+s.String())
		}
		for _, p := range u.Problems {
			lines = append(lines, u.Name+": "+p)
		}
	}
	return strings.Join(lines, "\n")
}

// TestNameServersOfOthers: a rule for a name server is for every packet of the host. It is made for none that another link has:
// in its subnet, behind a VPN, as its gateway, or as a name server before.
func TestNameServersOfOthers(t *testing.T) {
	h := newHost().eth("eth0", "eth1", "lan0").link(rpdb.Link{Name: "vpn0", Kind: "wireguard"})
	h.addr("eth0", "192.0.2.10/24").addr("eth1", "198.51.100.9/32").addr("lan0", "10.1.0.1/24").route("vpn0", "10.7.0.0/16")
	h.lease("eth0", "192.0.2.10", 1, "192.0.2.1").dns("192.0.2.1", "9.9.9.9", "10.1.0.7", "10.7.0.1", "198.51.100.1", "10.1.0.1")
	h.lease("eth1", "198.51.100.9", 2, "198.51.100.1").dns("198.51.100.1", "9.9.9.9", "203.0.113.53", "192.0.2.7")
	h.Config.DNSRules = true
	want := strings.Join([]string{
		"eth0 up 9.9.9.9",
		"eth0 up 192.0.2.1",
		"eth0: name server 10.1.0.7 is refused for dns_rules: it is in 10.1.0.0/24 of lan0",
		"eth0: name server 10.7.0.1 is refused for dns_rules: it is in 10.7.0.0/16, which is routed by vpn0",
		"eth0: name server 198.51.100.1 is refused for dns_rules: it is the gateway of eth1",
		"eth1 up 198.51.100.1",
		"eth1 up 203.0.113.53",
		"eth1: name server 9.9.9.9 is refused for dns_rules: it is one of eth0 already",
		"eth1: name server 192.0.2.7 is refused for dns_rules: it is in 192.0.2.0/24 of eth0",
	}, "\n")
	if d := cmp.Diff(want, serversOf(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	h.down("eth0")
	if got := serversOf(uplink.Derive(h.Input)); !strings.Contains(got, "eth1 up 9.9.9.9") {
		t.Errorf("while the first is down:\n%s", got)
	}
	h.Config.DNSRules = false
	if got := serversOf(uplink.Derive(h.Input)); strings.Contains(got, "refused") || !strings.Contains(got, "eth1 up 192.0.2.7") {
		t.Errorf("without rules there is nothing to refuse:\n%s", got)
	}
}

// TestNameServersOfOneSubnet: two cards in one subnet may have one name server, which is the gateway of both: the first asks it.
// Of two uplinks of one link the first does without a word.
func TestNameServersOfOneSubnet(t *testing.T) {
	h := newHost().eth("eth0", "eth1").addr("eth0", "192.0.2.10/24").addr("eth1", "192.0.2.11/24").addr("eth0", "198.51.100.9/24")
	h.lease("eth0", "192.0.2.10", 1, "192.0.2.1").dns("192.0.2.1").lease("eth0", "198.51.100.9", 1, "198.51.100.1")
	h.lease("eth1", "192.0.2.11", 2, "192.0.2.1").dns("192.0.2.1")
	h.Config.DNSRules = true
	want := "eth0 up 192.0.2.1\neth1: name server 192.0.2.1 is refused for dns_rules: it is one of eth0 already"
	if d := cmp.Diff(want, serversOf(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
