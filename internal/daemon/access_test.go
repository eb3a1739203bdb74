package daemon

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/hookserver"
)

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestAccess: names by the system's own lists, numbers as they are, whether there is such a user or not.
func TestAccess(t *testing.T) {
	got, err := accessOf("f", parse(t, "hook_users = ['root', 4242424]\nhook_groups = [7, 'root']"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hookserver.Access{Users: []uint32{0, 4242424}, Groups: []uint32{7, 0}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got, err := accessOf("f", config.Default()); err != nil || len(got.Users)+len(got.Groups) > 0 {
		t.Errorf("by default: %+v, %v", got, err)
	}
}

// TestUnknownAccounts: all of them at once, each with its place in the file.
func TestUnknownAccounts(t *testing.T) {
	err := Check("f", parse(t, "hook_users = ['root',\n 'no-such-user']\nhook_groups = ['no-such-group', 'root']"))
	want := `f:2:2: hook_users: there is no user "no-such-user" here; allowed: users of this machine, by name or number
f:3:16: hook_groups: there is no group "no-such-group" here; allowed: groups of this machine, by name or number`
	if _, ok := errors.AsType[*config.Error](err); !ok || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if err := Check("f", parse(t, "hook_groups = ['no-such-group']")); err == nil {
		t.Error("one alone is not told")
	}
	if err := Check("f", parse(t, "hook_users = ['root', 4242424, 0]\nhook_groups = [0]")); err != nil {
		t.Error(err)
	}
}
