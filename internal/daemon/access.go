package daemon

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/hookserver"
)

// Check says what of a configuration that reads well is not so on this machine: an *config.Error, as of the file itself.
func Check(file string, cfg config.Config) error {
	_, err := accessOf(file, cfg)
	return err
}

// accessOf finds the ids of the users and groups that the configuration names. A name that is nobody's is a mistake, and not
// left out: it may be somebody's tomorrow.
func accessOf(file string, cfg config.Config) (hookserver.Access, error) {
	wrong := config.Error{File: file}
	a := hookserver.Access{
		Users:  ids(&wrong, "hook_users", cfg.HookUsers, userID),
		Groups: ids(&wrong, "hook_groups", cfg.HookGroups, groupID),
	}
	if len(wrong.Problems) > 0 {
		return hookserver.Access{}, &wrong
	}
	return a, nil
}

func ids(wrong *config.Error, key string, accounts []config.Account, find func(name string) (string, error)) []uint32 {
	var all []uint32
	for _, a := range accounts {
		id, err := id(a, find)
		if err != nil {
			wrong.Problems = append(wrong.Problems, config.Problem{Line: a.Line, Column: a.Column, Key: key, Text: err.Error()})
			continue
		}
		all = append(all, id)
	}
	return all
}

func id(a config.Account, find func(name string) (string, error)) (uint32, error) {
	if a.Name == "" {
		return a.ID, nil
	}
	text, err := find(a.Name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the id of %.60q: %w", a.Name, err)
	}
	return uint32(n), nil
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return "", fmt.Errorf("there is no user %.60q here; allowed: users of this machine, by name or number", name)
	}
	if err != nil {
		return "", fmt.Errorf("look up user %.60q: %w", name, err)
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return "", fmt.Errorf("there is no group %.60q here; allowed: groups of this machine, by name or number", name)
	}
	if err != nil {
		return "", fmt.Errorf("look up group %.60q: %w", name, err)
	}
	return g.Gid, nil
}
