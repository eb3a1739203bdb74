package kernel

import (
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// FuzzDetail feeds the decoders of the whole database with bytes from outside: they must not panic, and what they take must be
// fit for a walk.
func FuzzDetail(f *testing.F) {
	f.Add(encodeFlow(rpdb.Flow{Dst: rpdb.IPv4.Any().Addr(), Src: rpdb.IPv4.Any().Addr(), OIF: 2, Mark: 7, Proto: 6, DstPort: 443}, 0))
	f.Add(append([]byte{10, 0, 0, 0x10, 0, 0, 0, 1, 2, 0, 0, 0}, 5, 0, fraDSCP, 0, 4, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRuleDetail(b); err == nil {
			_ = r.Text(rpdb.TableText)
		}
		if r, err := decodeRouteDetail(b); err == nil {
			if !r.Dst.IsValid() || !r.From.IsValid() || r.Dst != r.Dst.Masked() {
				t.Errorf("a route to %v from %v", r.Dst, r.From)
			}
			_ = r.Text(func(int) string { return "x" })
		}
		if l, err := decodeLinkDetail(b); err == nil && l.Kind != "vrf" && l.VRFTable != 0 {
			t.Errorf("a table of a link of kind %q", l.Kind)
		}
		reaches(b, rpdb.IPv6.Any().Addr())
	})
}
