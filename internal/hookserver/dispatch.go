package hookserver

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/lease"
)

// dispatch turns a message into events and hands them on. The channel gives the outcome.
//
// A hook of another network namespace (ip netns exec, a container that shares /run) is refused: its ifindex is one of our
// links by chance only, and its lease or release would be taken for that link's.
func (s *Server) dispatch(ctx context.Context, p peer, m hookwire.Message) (<-chan error, error) {
	if m.NetNS.Other(s.netns) {
		return nil, fmt.Errorf("the hook ran in network namespace %s, uplinkd runs in %s", m.NetNS, s.netns)
	}
	if err := checkClient(p, m); err != nil {
		return nil, err
	}
	evs, err := lease.Parse(lease.Input{
		Client: m.Client, Args: m.Args, Env: m.Env, Refused: m.Refused, Interface: m.Interface, Index: m.Index,
	})
	if err != nil {
		return nil, fmt.Errorf("message of a hook: %w", err)
	}
	if m.Client == lease.ClientGeneric && evs[0].Verb == lease.Ignore {
		// A person wrote it, and hears what is wrong; a client's hook has nobody to tell.
		return nil, errors.New(evs[0].Why)
	}
	sign(p, evs)
	return s.cfg.Intake.Take(ctx, evs, m.Stamp), nil
}

func (s *Server) warn(msg string, fields ...zap.Field) { s.cfg.Intake.Warn(msg, fields...) }
