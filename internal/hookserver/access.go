package hookserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// Access says which ordinary users may send messages besides root and the daemon's own user: those with one of the user ids
// and the members of the groups. Theirs count for openvpn and generic only, and for tunnels only: see lease.Source.OfUser.
type Access struct {
	Users, Groups []uint32
}

// peer is who is at the other end of a connection.
type peer struct {
	uid    uint32
	groups []uint32 // the primary one and the others
}

// trusted says whether a peer may say everything: it could as well write the spool, or trace the daemon.
func (p peer) trusted() bool { return p.uid == 0 || int64(p.uid) == int64(os.Geteuid()) }

// allows says whether an ordinary user may speak at all.
func (a Access) allows(p peer) bool {
	return slices.Contains(a.Users, p.uid) || slices.ContainsFunc(p.groups, func(g uint32) bool { return slices.Contains(a.Groups, g) })
}

// SetAccess takes another list at once. The socket is open to as few as its mode can say: to nobody but its owner where the list
// is empty, to the group where there is one and nobody else, and otherwise to all, of whom those that are not on the list are
// refused after connect(2) by their credentials. Of a socket that was given, the mode is left to the giver.
func (s *Server) SetAccess(a Access) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = Access{Users: slices.Clone(a.Users), Groups: slices.Clone(a.Groups)}
	if s.path == "" {
		return nil
	}
	if err := openDir(filepath.Dir(s.path), a); err != nil {
		return fmt.Errorf("open the runtime directory to hook_users and hook_groups: %w", err)
	}
	if err := setMode(s.path, a); err != nil {
		return fmt.Errorf("set the mode of %s for hook_users and hook_groups: %w", s.path, err)
	}
	return nil
}

// openDir lets others get to the socket. What else is in the directory has modes of its own.
func openDir(dir string, a Access) error {
	if len(a.Users)+len(a.Groups) == 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o055 == 0o055 {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|0o055)
}

// setMode closes the socket first, so that it is at no moment open to a former group.
func setMode(path string, a Access) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	switch {
	case len(a.Users)+len(a.Groups) == 0:
		return nil
	case len(a.Users) == 0 && len(a.Groups) == 1 && os.Lchown(path, -1, int(a.Groups[0])) == nil:
		return os.Chmod(path, 0o660)
	}
	return os.Chmod(path, 0o666)
}

func (s *Server) allows(p peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.trusted() || s.access.allows(p)
}

// ordinaryClients are the clients that ordinary users may speak for.
func ordinaryClients() []string { return []string{"openvpn", "generic"} }

// checkClient refuses what an ordinary user says in the name of another program.
func checkClient(p peer, m hookwire.Message) error {
	if p.trusted() || slices.Contains(ordinaryClients(), m.Client) {
		return nil
	}
	return fmt.Errorf("user %d may not speak for client %.40q", p.uid, m.Client)
}

// sign puts an ordinary user's name to what it says.
func sign(p peer, evs []lease.Event) {
	if p.trusted() {
		return
	}
	for i := range evs {
		ev := &evs[i]
		ev.Source = ev.Source.OfUser(p.uid)
		ev.Lease.Source = ev.Source
		for j := range ev.Leases {
			ev.Leases[j].Source = ev.Source
		}
	}
}
