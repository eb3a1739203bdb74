package testnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// pair is two namespaces with a cable between them.
func pair(t *testing.T) (a, b *NS) {
	a, b = New(t), New(t)
	Must(t, Veth(a, "eth0", b, "eth0"),
		a.Addr("eth0", "192.0.2.1/24"), b.Addr("eth0", "192.0.2.2/24"),
		a.Addr("eth0", "2001:db8::1/64"), b.Addr("eth0", "2001:db8::2/64"))
	return a, b
}

func TestSocketsStayInTheirNamespace(t *testing.T) {
	a, b := pair(t)
	for _, addr := range []string{"192.0.2.2:7", "[2001:db8::2]:7"} {
		var l net.Listener
		Must(t, b.Run(func() (err error) { l, err = net.Listen("tcp", addr); return err }))
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				fmt.Fprint(c, "hello")
				c.Close()
			}
		}()
		a.Do(t, func() {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
				t.Errorf("%s said %q, %v", addr, got, err)
			}
		})
	}
	if c, err := net.DialTimeout("tcp", "192.0.2.2:7", 50*time.Millisecond); err == nil {
		c.Close()
		t.Error("the address can be reached from outside its namespace")
	}
}

func TestRunReturnsHome(t *testing.T) {
	where := func() string { s, _ := os.Readlink("/proc/thread-self/ns/net"); return s }
	a := New(t)
	a.Do(t, func() {
		home := where()
		b := New(t)
		b.Do(t, func() {
			if where() == home {
				t.Error("Run did not enter the namespace")
			}
		})
		failed := errors.New("failed")
		if err := b.Run(func() error { return failed }); !errors.Is(err, failed) {
			t.Errorf("Run returned %v, want the function's error", err)
		}
		if where() != home {
			t.Error("Run did not return to the namespace it came from")
		}
	})
}

func TestCommandRunsInNamespace(t *testing.T) {
	n := New(t)
	Must(t, n.Bridge("lonely0"))
	out, err := n.Command("/bin/sh", "-c", "cat /proc/net/dev; echo pid $$; exit 3").Output()
	if err == nil || err.Error() != "exit status 3" {
		t.Errorf("error %v, want exit status 3", err)
	}
	if !strings.Contains(string(out), "lonely0:") || strings.Contains(string(out), "UPLINKD") {
		t.Errorf("the command sees %s", out)
	}
	if env, _ := n.Command("/usr/bin/env").Output(); strings.Contains(string(env), envEnter) {
		t.Errorf("%s leaks into the command's environment", envEnter)
	}
}

func TestTunCarriesPackets(t *testing.T) {
	n := New(t)
	f, err := n.Tun("ppp0", ARPHRDPPP)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		Skip(t, err.Error())
	}
	Must(t, err)
	defer f.Close()
	Must(t, n.Up("ppp0"), n.Peer("ppp0", "192.0.2.7", "198.51.100.1"))
	n.Do(t, func() {
		c, err := net.Dial("udp4", "198.51.100.1:9")
		Must(t, err)
		defer c.Close()
		if got := c.LocalAddr().(*net.UDPAddr).IP.String(); got != "192.0.2.7" {
			t.Errorf("source address %s, want the link's own", got)
		}
		_, err = c.Write([]byte("over the wire"))
		Must(t, err)
	})
	Must(t, f.SetReadDeadline(time.Now().Add(time.Second)))
	for buf := make([]byte, 1500); ; {
		size, err := f.Read(buf)
		Must(t, err)
		if strings.HasSuffix(string(buf[:size]), "over the wire") {
			break
		}
	}
	l, err := n.dev("ppp0")
	Must(t, err)
	if got := l.Attrs().EncapType; got != "ppp" {
		t.Errorf("hardware type %s, want ppp", got)
	}
}

func TestTextErrors(t *testing.T) {
	n := New(t)
	for name, err := range map[string]error{
		"unknown word":    n.Rule(rpdb.IPv4, "from 192.0.2.1 locup 7"),
		"no argument":     n.Rule(rpdb.IPv4, "from"),
		"bad number":      n.Rule(rpdb.IPv4, "priority x"),
		"no device":       n.Route("default dev nowhere0"),
		"no destination":  n.Route("table 7"),
		"bad destination": n.Route("192.0.2.0/33 dev lo"),
		"kernel refuses":  n.Route("default via 192.0.2.1 dev lo"),
		"address":         n.Addr("lo", "192.0.2.0/33"),
		"peer":            n.Peer("lo", "192.0.2.1", "x"),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWait(t *testing.T) {
	calls := 0
	failed := errors.New("still failing")
	if err := Wait(20*time.Millisecond, func() error { calls++; return failed }); !errors.Is(err, failed) || calls < 2 {
		t.Errorf("Wait returned %v after %d calls", err, calls)
	}
	calls = 0
	err := Wait(time.Minute, func() error {
		if calls++; calls < 3 {
			return failed
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("Wait returned %v after %d calls", err, calls)
	}
}
