package live

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/explain"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// TestExplain asks about two uplinks whose packets leave by where their source belongs.
func TestExplain(t *testing.T) {
	ns, far := testnet.New(t), testnet.New(t)
	for i, dev := range []string{"wan0", "wan1"} {
		n := string(rune('1' + i))
		testnet.Must(t, testnet.Veth(ns, dev, far, dev), ns.Addr(dev, "192.0."+n+".2/24"), ns.Ready(dev),
			ns.Route("default via 192.0."+n+".1 dev "+dev+" table 10"+n+" proto static"),
			ns.Rule(rpdb.IPv4, "from 192.0."+n+".2 lookup 10"+n+" priority 4"+n+"00 proto static"))
	}
	testnet.Must(t, ns.Route("default via 192.0.1.1 dev wan0 table main proto static"),
		ns.Rule(rpdb.IPv4, "from all lookup main suppress_prefixlength 0 priority 4000 proto static"),
		ns.Rule(rpdb.IPv4, "from all fwmark 7 prohibit priority 4300 proto static"))
	name := TableText(map[uint32]string{102: "wan1"})
	for _, tt := range []struct {
		words []string
		want  string // the end
		rules int
	}{
		{[]string{"203.0.113.9"}, "via 192.0.1.1 dev wan0 table main", 6},
		{[]string{"203.0.113.9", "from", "192.0.2.2"}, "via 192.0.2.1 dev wan1 table wan1 (102)", 4},
		{[]string{"203.0.113.9", "mark", "7"}, "EACCES", 5},
		{[]string{"192.0.2.77", "mark", "7"}, " dev wan1 table main", 2},
		{[]string{"203.0.113.9", "from", "192.0.9.9"}, "ENETUNREACH", 0},
	} {
		ns.Do(t, func() {
			q, err := explain.Parse(tt.words, 0)
			testnet.Must(t, err)
			a, err := Explain(context.Background(), q, name)
			testnet.Must(t, err)
			got := a.Ends[0].Error
			if got == "" {
				h := a.Ends[0].Hops[0]
				if h.Via != "" {
					got = "via " + h.Via
				}
				got += " dev " + h.Dev + " table " + a.Ends[0].Table
			}
			if !a.Agrees || got != tt.want || len(a.Rules) != tt.rules {
				t.Errorf("%v: %q after %d rules, want %q after %d; differs: %s", tt.words, got, len(a.Rules), tt.want, tt.rules, a.Differs)
			}
		})
	}
	ns.Do(t, func() {
		q, err := explain.Parse([]string{"203.0.113.9", "oif", "nosuch0"}, 0)
		testnet.Must(t, err)
		if _, err = Explain(context.Background(), q, name); !errors.As(err, new(Usage)) {
			t.Errorf("a device that is not there: %v", err)
		}
	})
}

func TestTableNames(t *testing.T) {
	dir := t.TempDir()
	testnet.Must(t, os.Mkdir(filepath.Join(dir, "rt_tables.d"), 0o755),
		os.WriteFile(filepath.Join(dir, "rt_tables"), []byte("254 main\n0x64 dsl # ours\nnonsense\n7 a b\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "rt_tables.d", "uplinkd.conf"), []byte("7000\twan0\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "rt_tables.d", "README"), []byte("1 no\n"), 0o644))
	if diff := cmp.Diff(map[uint32]string{100: "dsl", 7000: "wan0"}, TableNames(dir)); diff != "" {
		t.Error(diff)
	}
}
