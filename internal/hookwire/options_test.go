package hookwire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckGeneric(t *testing.T) {
	long := strings.Repeat("x", MaxValue+1)
	for _, c := range []struct {
		args []string
		want string // what the error says; empty: none
	}{
		{[]string{"--interface", "wan0", "--address", "192.0.2.9/24", "--gateway=192.0.2.1"}, ""},
		{[]string{"--remove", "--interface=wan0"}, ""},
		{[]string{"--interface", "--remove", "--address=192.0.2.9"}, ""}, // a link may be named so
		{slices.Repeat([]string{"--interface=wan0"}, 1), ""},
		{nil, "--interface must be there once"},
		{[]string{"--remove"}, "--interface must be there once"},
		{[]string{"--interface=a", "--interface=b"}, "--interface must be there once"},
		{[]string{"--interface"}, "--interface has no value"},
		{[]string{"--interface="}, "--interface has no value"},
		{[]string{"--interface", "wan0", "--mtu"}, "--mtu has no value"},
		{[]string{"--interface", "wan0", "--gateway", ""}, "--gateway has no value"},
		{[]string{"wan0"}, `"wan0" is not an option`},
		{[]string{""}, `"" is not an option`},
		{[]string{"--", "--interface=wan0"}, `unknown option "--"`},
		{[]string{"--interface=wan0", "--gatway=192.0.2.1\x1b"}, `unknown option "--gatway"`},
		{[]string{"--\x1b" + long}, `unknown option "--\x1bxxx`},
		{[]string{"--interface=wan0", "--remove=1"}, "--remove takes no value"},
		{[]string{"--interface=wan0", "--dns=" + long}, "the value of --dns is too long"},
		{[]string{"--interface=" + strings.Repeat("x", MaxInterface+1)}, "the value of --interface is too long"},
		{append(slices.Repeat([]string{"--dns=192.0.2.53"}, MaxArgs-1), "--interface=wan0"), ""},
		{slices.Repeat([]string{"--dns=192.0.2.53"}, MaxArgs+1), "17 arguments, at most 16 are taken"},
	} {
		err := CheckGeneric(c.args, nil)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%.200q: %v, want %q", c.args, err, c.want)
		case err != nil && (len(err.Error()) > 200 || strings.ContainsRune(err.Error(), 0x1b)):
			t.Errorf("%.200q: not fit for a terminal: %q", c.args, err)
		}
	}
}

// TestCheckGenericValues: the function sees each value with its option, but the link's name and what has none, and what it says
// is told with both.
func TestCheckGenericValues(t *testing.T) {
	var seen []string
	err := CheckGeneric([]string{"--address", "192.0.2.9", "--interface=wan0", "--remove", "--mtu=x", "--dns=y"}, func(option, value string) error {
		seen = append(seen, option+" "+value)
		if value == "x" {
			return errors.New("not a number")
		}
		return nil
	})
	if err == nil || err.Error() != `--mtu "x": not a number` {
		t.Errorf("error %v", err)
	}
	if want := []string{"--address 192.0.2.9", "--remove ", "--mtu x"}; !slices.Equal(seen, want) {
		t.Errorf("looked at %q, want %q", seen, want)
	}
}

// TestGenericPassesWhole: what CheckGeneric lets pass, Collect neither cuts nor refuses, and it finds the link.
func TestGenericPassesWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"wan0", "--interface", "--interface=wan1", "--remove", "--dns", "--dns=192.0.2.53", "", "=", "x"})
		args := rapid.SliceOfN(word, 0, MaxArgs+2).Draw(t, "args")
		if CheckGeneric(args, nil) != nil {
			return
		}
		m, err := Collect("generic", args, []string{"--interface=x", "interface=eth9"})
		if err != nil || !slices.Equal(m.Args, args) && len(args) > 0 || len(m.Refused) > 0 || len(m.Env) > 0 || m.Interface == "" || m.Idle() {
			t.Fatalf("%q: %+v, %v", args, m, err)
		}
	})
}

func TestManagersNameTheirLinks(t *testing.T) {
	for _, c := range []struct {
		client    string
		args, env []string
		want      string
		idle      bool
	}{
		{"networkmanager", []string{"wwan0", "up"}, []string{"DEVICE_IFACE=cdc-wdm0", "DEVICE_IP_IFACE=wwan0"}, "wwan0", false},
		{"networkmanager", nil, []string{"DEVICE_IFACE=cdc-wdm0", "DEVICE_IP_IFACE=wwan0"}, "wwan0", false},
		{"networkmanager", nil, []string{"DEVICE_IFACE=cdc-wdm0"}, "", false},
		{"networkmanager", []string{"", "vpn-up"}, []string{"DEVICE_IP_IFACE=eth0", "VPN_IP_IFACE=tun0"}, "tun0", false},
		{"networkmanager", []string{"none", "hostname"}, nil, "none", true},
		{"networkmanager", []string{"", "connectivity-change"}, nil, "", true},
		{"networkmanager", []string{"hostname", "up"}, nil, "hostname", false},
		{"networkd-dispatcher", nil, []string{"IFACE=wan0", "STATE=off"}, "wan0", false},
		{"ifupdown", nil, []string{"IFACE=wan0", "METHOD=static"}, "wan0", false},
		{"ifupdown", nil, []string{"IFACE=wan0", "METHOD=manual"}, "wan0", true},
		{"ifupdown", nil, []string{"IFACE=wan0", "METHOD=NetworkManager"}, "wan0", true},
		{"openvpn", []string{"eth0"}, []string{"dev=tun0", "script_type=route-up"}, "tun0", false},
		{"openvpn", nil, []string{"script_type=ipchange"}, "", true},
		{"wg-quick", []string{"up", "wg0"}, []string{"IFACE=eth0"}, "wg0", false},
		{"generic", []string{"--interface", "wan0"}, []string{"IFACE=eth0"}, "wan0", false},
		{"generic", []string{"wan0"}, nil, "", false},
	} {
		m, err := Collect(c.client, c.args, c.env)
		if err != nil || m.Interface != c.want || m.Idle() != c.idle {
			t.Errorf("%s %q %q: link %q, idle %v, %v", c.client, c.args, c.env, m.Interface, m.Idle(), err)
		}
	}
}

// TestManagersAllowWhatIsRead: none of the text that servers write, and numbers only where keys are numbered.
func TestManagersAllowWhatIsRead(t *testing.T) {
	for key, want := range map[string]bool{
		"networkmanager IP4_ADDRESS_12": true, "networkmanager VPN_IP6_ADDRESS_0": true, "networkmanager DHCP4_IP_ADDRESS": true,
		"networkmanager DEVICE_IFACE": true, "networkmanager DEVICE_IP_IFACE": true, "networkmanager VPN_IP_IFACE": true, "openvpn script_context": true,
		"networkmanager DHCP4_WPAD": false, "networkmanager IP4_DOMAINS": false, "networkmanager IP4_ADDRESS_": false, "networkmanager CONNECTION_ID": false,
		"openvpn route_network_1": true, "openvpn route_network_1x": false, "openvpn X509_0_CN": false, "openvpn common_name": false,
		"openvpn route_net_gateway": false, "ifupdown IF_GATEWAY": true, "ifupdown IF_X_UPLINK_TABLE": false, "ifupdown LOGICAL": false,
		"networkd-dispatcher json": false, "networkd-dispatcher STATE": true, "wg-quick IFACE": false, "generic --interface": false,
	} {
		client, name, _ := strings.Cut(key, " ")
		if Allowed(client, name) != want {
			t.Errorf("%s: allowed %v", key, !want)
		}
	}
}
