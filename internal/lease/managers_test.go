package lease_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCallsWithoutData: clients of which uplinkd learns that something happened, and no more.
func TestCallsWithoutData(t *testing.T) {
	for _, c := range []struct{ client, env, arg, want string }{
		{"wg-quick", "", "up", "up: resync"},
		{"wg-quick", "", "down", "down: remove all"},
		{"wg-quick", "", "", ": ignore (neither up nor down)"},
		{"wg-quick", "", "$(id)", "\"$(id)\": ignore (neither up nor down)"},
		{"wg-quick", "", strings.Repeat("a", 49), "\"" + strings.Repeat("a", 48) + "\"...: ignore (neither up nor down)"},
		{"networkd-dispatcher", "STATE=routable", "", "routable: resync"},
		{"networkd-dispatcher", "STATE=no-carrier", "", "no-carrier: resync"},
		{"networkd-dispatcher", "STATE=\x1b", "", "\"\\x1b\": resync"},
		{"networkd-dispatcher", "", "", ": resync"},
	} {
		got := text(parse(t, call(c.client, c.env, c.arg, "wan0")))
		if d := cmp.Diff(c.client+" "+c.want, got); d != "" {
			t.Error(d)
		}
	}
}

// TestPPPOfNetworkManager: NetworkManager tells of the session itself, so pppd's word is only a reason to look.
func TestPPPOfNetworkManager(t *testing.T) {
	for ipparam, want := range map[string]string{
		"/org/freedesktop/NetworkManager/PPP/0": "resync", "nm-pptp-service-4711": "resync", "nm-l2tp-service-1": "resync",
		"/org/freedesktop/NetworkManager/Other": "", "nm-dsl": "", "x-nm-pptp-service-1": "", "": "", "dsl0": "",
	} {
		for kind, otherwise := range map[string]string{"ip-pre-up": "bind", "ip-up": "bind", "ip-down": "remove"} {
			ev := parse(t, call("ppp", "", kind, "ppp0", "tty", "0", "10.64.0.100", "10.64.0.1", ipparam))
			if want == "" && ev.Verb.String() != otherwise || want != "" && ev.Verb.String() != want {
				t.Errorf("ipparam %q: %s", ipparam, text(ev))
			}
		}
	}
}
