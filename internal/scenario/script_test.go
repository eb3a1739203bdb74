package scenario

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/tools/txtar"

	"github.com/uplinkd/uplinkd/internal/agent"
	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/state"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// patience is how long a state may take to come about. On the kernel in memory it is a clock that nobody waits for.
const patience = 5 * time.Second

// script is a scenario under way.
type script struct {
	t     testing.TB
	w     world
	files map[string]string
	agent *agent.Agent
	end   func()
	disk  *disk
}

// disk is a state file in memory; a restart reads it.
type disk struct {
	mu sync.Mutex
	s  state.State
}

// Save keeps a state.
func (d *disk) Save(s state.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.s = s
	return nil
}

func (d *disk) load() state.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.s
}

// run plays an archive: its comment is the script, its files are what "config", "expect" and "problems" name.
func run(t testing.TB, a *txtar.Archive, w world) {
	s := &script{t: t, w: w, files: make(map[string]string), disk: &disk{}}
	for _, f := range a.Files {
		s.files[f.Name] = string(f.Data)
	}
	defer func() { s.stop() }()
	for i, line := range strings.Split(string(a.Comment), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.do(words[0], words[1:]); err != nil {
			t.Fatalf("line %d: %s: %v", i+1, strings.TrimSpace(line), err)
		}
	}
}

// commands are what a script may say.
//
//	link DEV [ppp|tun|bridge|macvlan PARENT|index N]  a link comes, up
//	master DEV [BRIDGE]             it becomes a bridge's port, or is one no more
//	carrier DEV on|off              its other end comes and goes
//	up|down|del DEV, rename DEV NEW
//	addr DEV CIDR [peer CIDR], deladdr DEV CIDR [peer CIDR]; more about addresses: see addresses
//	route add|replace|del TEXT      as ip-route(8)
//	nexthop, nhid, multipath, bare  routes with several next hops, and with nexthop objects: see hops
//	rule add|del [-6] TEXT, rule flush [ours]
//	start [CONFIG], stop            the daemon; stop is a crash: it says goodbye to nobody
//	reload CONFIG, flush
//	lease DEV SOURCE ADDR [GW...] [DST=GW...]  a hook says so, with classless routes; "refused" for a gateway that was none at all
//	replace DEV SOURCE [ADDR[=GW,...]...]      a hook names all that the client has on the link
//	release DEV SOURCE ADDR, fail DEV SOURCE
//	delegate DEV SOURCE PREFIX      a hook says that the prefix is for what is behind the host; released by its first address
//	announce DEV PREFIX ROUTER...   routers of the link advertise a prefix: all those that do
//	refused lease|replace ...       the hook hears that its word does not count
//	expect FILE                     this is all of ours that the kernel has
//	problems FILE                   this is what status complains about
//	foreign FILE                    this is all that the kernel has of others, less its own
//	sysctl, sysctls, notes          about settings of links: see sysctls
func (s *script) do(command string, args []string) error {
	text := strings.Join(args, " ")
	switch command {
	case "link":
		return s.w.Link(args[0], strings.Join(args[1:], " "))
	case "master":
		return s.w.Master(args[0], strings.Join(args[1:], ""))
	case "carrier":
		return s.w.Carrier(args[0], args[1] == "on")
	case "up":
		return s.w.Up(args[0])
	case "down":
		return s.w.Down(args[0])
	case "del":
		return s.w.Delete(args[0])
	case "rename":
		return s.w.Rename(args[0], args[1])
	case "promote", "forward", "way":
		return s.addresses(command, args)
	case "nexthop", "nhid", "multipath", "bare":
		return s.hops(command, args)
	case "sysctl", "sysctls", "notes":
		return s.sysctls(command, args)
	case "addr":
		if len(args) == 3 {
			return s.addresses(command, args)
		}
		if len(args) == 4 {
			return s.w.Peer(args[0], args[1], args[3])
		}
		return s.w.Addr(args[0], args[1])
	case "deladdr":
		if len(args) == 4 {
			return s.w.DelPeer(args[0], args[1], args[3])
		}
		return s.w.DelAddr(args[0], args[1])
	case "route":
		return s.w.Route(args[0], strings.TrimPrefix(text, args[0]+" "))
	case "rule":
		if args[0] == "flush" {
			return s.w.FlushRules(protocolOf(args[1:]))
		}
		return s.w.Rule(args[0], strings.TrimPrefix(text, args[0]+" "))
	}
	return s.daemon(command, args)
}

// protocolOf is the protocol of the rules to flush; 0: all.
func protocolOf(args []string) uint8 {
	if len(args) > 0 && args[0] == "ours" {
		return config.DefaultProtocol
	}
	return 0
}

func (s *script) daemon(command string, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch command {
	case "start":
		return s.start(args)
	case "stop":
		s.stop()
		return nil
	case "reload":
		cfg, err := config.Parse(args[0], []byte(s.files[args[0]]))
		if err != nil {
			return err
		}
		return s.agent.Reload(ctx, cfg, nil)
	case "flush":
		return s.agent.Flush(ctx)
	case "refused":
		if err := s.daemon(args[0], args[1:]); err == nil {
			return fmt.Errorf("it is taken")
		}
		return nil
	case "lease", "replace", "release", "fail", "announce", "delegate":
		ev, err := s.event(command, args)
		if err != nil {
			return err
		}
		return s.agent.Hook(ctx, ev)
	case "expect":
		return s.expect(args[0], s.picture)
	case "foreign":
		return s.expect(args[0], s.others)
	case "problems":
		return s.expect(args[0], s.complaints)
	}
	return fmt.Errorf("no such command")
}

func (s *script) start(args []string) error {
	cfg := config.Default()
	if len(args) > 0 {
		var err error
		if cfg, err = config.Parse(args[0], []byte(s.files[args[0]])); err != nil {
			return err
		}
	}
	k, closeKernel, err := s.w.Start()
	if err != nil {
		return err
	}
	s.agent = agent.New(agent.Options{Kernel: k, Store: s.disk, State: s.disk.load(), Config: cfg, Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.agent.Run(ctx) }()
	s.end = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("agent: %v", err)
		}
		closeKernel()
	}
	select {
	case <-s.agent.Ready():
		return nil
	case <-time.After(patience):
		return fmt.Errorf("not ready")
	}
}

func (s *script) stop() {
	if s.end != nil {
		s.end()
		s.end = nil
	}
}

// expect waits until what is seen is what the file says.
func (s *script) expect(file string, see func() (string, error)) error {
	want, ok := s.files[file]
	if !ok {
		return fmt.Errorf("there is no file %s", file)
	}
	if err := s.settle(); err != nil {
		return err
	}
	return testnet.Wait(patience, func() error {
		got, err := see()
		if err != nil {
			return err
		}
		if strings.TrimSpace(want) == "" && strings.TrimSpace(got) != "" {
			return fmt.Errorf("wanted nothing, got:\n%s", got)
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
}

// settle has the agent look at the kernel once more, so that what the script did before has been seen.
func (s *script) settle() error {
	if s.end == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.agent.Hook(ctx, lease.Event{Verb: lease.Resync})
}

// picture is all of ours that the kernel has, with tables by their uplinks' names.
func (s *script) picture() (string, error) {
	rules, routes, name, err := s.w.Picture()
	if err != nil {
		return "", err
	}
	text := testnet.Text(rules, routes, name, func(p uint8) bool { return p == config.DefaultProtocol })
	text = strings.ReplaceAll(text, fmt.Sprintf(" proto %d", config.DefaultProtocol), "")
	return byTable(s.nameTables(text)), nil
}

// others is what the kernel has of protocols boot and static: what a script put there.
func (s *script) others() (string, error) {
	rules, routes, name, err := s.w.Picture()
	if err != nil {
		return "", err
	}
	return testnet.Text(rules, routes, name, func(p uint8) bool { return p == rpdb.ProtoBoot || p == rpdb.ProtoStatic }), nil
}

// byTable puts the routes of one table together: the rules of a family, then its routes table by table.
func byTable(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	table := regexp.MustCompile(`^(inet6? route) .* table (\S+)`)
	key := func(line string) string {
		if m := table.FindStringSubmatch(line); m != nil {
			return m[1] + " " + m[2]
		}
		family, _, _ := strings.Cut(line, " rule")
		return family + " a rule"
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(key(a), key(b)) })
	return strings.Join(lines, "\n")
}

func (s *script) nameTables(text string) string {
	return regexp.MustCompile(`(lookup|table) (\d+)`).ReplaceAllStringFunc(text, func(m string) string {
		verb, number, _ := strings.Cut(m, " ")
		for uplink, n := range s.disk.load().Tables {
			if strconv.Itoa(int(n)) == number {
				return verb + " " + uplink
			}
		}
		return m
	})
}

// complaints are the problems in status: those of no uplink first, then each with its uplink and its state.
func (s *script) complaints() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := s.agent.Status(ctx)
	if err != nil {
		return "", err
	}
	lines := slices.Clone(st.Problems)
	for _, u := range st.Uplinks {
		for _, p := range u.Problems {
			lines = append(lines, fmt.Sprintf("%s (%s): %s", u.Name, u.State, p))
		}
	}
	return s.nameTables(strings.Join(lines, "\n")), nil
}
