package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/explain"
)

func TestExplainText(t *testing.T) {
	a := explain.Answer{
		Packet: explain.Packet{Dst: "203.0.113.9", From: "192.0.2.2", IPProto: "tcp", DstPort: 443, UID: 1000},
		Rules: []explain.RuleRow{
			{Priority: 0, Rule: "from all lookup local", Matches: true, Result: "no route: go on with the next rule"},
			{Priority: 4100, Rule: "from 198.51.100.2 lookup wan1 (7001)", Why: "the source 192.0.2.2 is not in 198.51.100.2/32"},
			{Priority: 4200, Rule: "from 192.0.2.2 lookup wan0 (7000)", Matches: true, Decides: true, Result: "taken", Routes: []explain.RouteRow{
				{Route: "default via 192.0.2.1 dev wan0", Wins: true, Why: "the longest prefix"},
				{Route: "blackhole default metric 4294967295", Why: "a higher metric"},
			}},
		},
		Ends: []explain.End{{Type: "unicast", Table: "wan0 (7000)", Hops: []explain.HopRow{{Via: "192.0.2.1", Dev: "wan0\x1b"}},
			Src: "192.0.2.2", SrcBy: "packet"}},
		Kernel: explain.Kernel{Asked: true, Via: "198.51.100.1", Dev: "wan1"}, Differs: "the kernel takes via 198.51.100.1 dev wan1",
	}
	want := `!! THE WALK AND THE KERNEL DISAGREE: the kernel takes via 198.51.100.1 dev wan1.
   Believe the kernel, and please report this with the output of "ip rule" and
   "ip route show table all" (IPv6: "ip -6").
To 203.0.113.9 from 192.0.2.2, tcp to port 443, user 1000:
+     0: from all lookup local
         no route: go on with the next rule
-  4100: from 198.51.100.2 lookup wan1 (7001)
         no match: the source 192.0.2.2 is not in 198.51.100.2/32
>  4200: from 192.0.2.2 lookup wan0 (7000)
         > default via 192.0.2.1 dev wan0 (the longest prefix)
         - blackhole default metric 4294967295 (a higher metric)
         taken
=> via 192.0.2.1 dev wan0\x1b, source 192.0.2.2, by table wan0 (7000).
   The kernel takes via 198.51.100.1 dev wan1 this time.
`
	if diff := cmp.Diff(want, explainText(&a)); diff != "" {
		t.Error(diff)
	}
	for line := range strings.Lines(explainText(&a)) {
		if len(line) > screen+1 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}
