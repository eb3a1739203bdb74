package scenario

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// sysctls does the commands about settings.
//
//	sysctl DEV NAME VALUE           somebody sets net.ipv4.conf.DEV.NAME
//	sysctls FILE                    these are the settings of links that are not all 0
//	notes FILE                      this is what status notes
func (s *script) sysctls(command string, args []string) error {
	switch command {
	case "sysctl":
		value, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return s.w.Sysctl(args[0], args[1], value)
	case "notes":
		return s.expect(args[0], s.notes)
	}
	return s.expect(args[0], s.settings)
}

// settings are those of every link whose name a script uses.
func (s *script) settings() (string, error) {
	var b strings.Builder
	for _, dev := range []string{"all", "eth0", "eth1", "eth2", "lan0", "ppp0", "wan.100", "wlan0", "wlan1"} {
		if _, err := s.w.Index(dev); err != nil && dev != "all" {
			continue
		}
		var texts []string
		sum := 0
		for _, name := range []rpdb.SettingName{rpdb.ARPIgnore, rpdb.ARPAnnounce, rpdb.RPFilter, rpdb.SrcValidMark} {
			v, err := s.w.GetSysctl(dev, string(name))
			if err != nil {
				return "", err
			}
			sum += v
			texts = append(texts, fmt.Sprintf("%s=%d", name, v))
		}
		if sum > 0 {
			fmt.Fprintf(&b, "%s %s\n", dev, strings.Join(texts, " "))
		}
	}
	return b.String(), nil
}

// notes are those in status, those of no uplink first.
func (s *script) notes() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := s.agent.Status(ctx)
	if err != nil {
		return "", err
	}
	lines := append([]string{}, st.Notes...)
	for _, u := range st.Uplinks {
		for _, n := range u.Notes {
			lines = append(lines, fmt.Sprintf("%s (%s): %s", u.Name, u.State, n))
		}
	}
	return s.nameTables(strings.Join(lines, "\n")), nil
}

func (w *realWorld) Sysctl(dev, name string, value int) error {
	return w.host.Sysctl("net/ipv4/conf/"+dev+"/"+name, strconv.Itoa(value))
}

func (w *realWorld) GetSysctl(dev, name string) (value int, err error) {
	err = w.host.Run(func() error {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + dev + "/" + name)
		if err != nil {
			return err
		}
		value, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err
	})
	return value, err
}

// plainSettings gives a namespace the kernel's own defaults: a new one has those of the machine.
func plainSettings(t testing.TB, ns *testnet.NS) {
	t.Helper()
	for _, name := range []rpdb.SettingName{rpdb.ARPIgnore, rpdb.ARPAnnounce, rpdb.RPFilter, rpdb.SrcValidMark} {
		for _, link := range []string{"all", "default"} {
			testnet.Must(t, ns.Sysctl("net/ipv4/conf/"+link+"/"+string(name), "0"))
		}
	}
}
