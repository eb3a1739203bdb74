package hookwire

import (
	"slices"
	"strings"
)

// client is one line of the table of clients: what its hook may take out of the environment, and where it names its link.
type client struct {
	name     string
	keys     []string // exact keys, in which # stands for a number
	ifaceKey []string // the keys that may hold the link's name; the first that is set counts
	ifaceArg int      // the argument that holds it, counted from 1; 0: none. It counts before the keys.
	options  bool     // the arguments are options, and one of them holds it: see GenericOptions
	idleKey  string   // the key whose values in idle say that there is nothing to tell
	idleArg  int      // or the argument, counted from 1; 0: none
	idle     []string
}

// clients is the table. What is not in it is not sent: host names, boot files, proxy addresses and the like are text that
// a stranger wrote, and nobody here needs them.
func clients() []client { return slices.Concat(dhcpClients(), managers()) }

// dhcpClients are those that speak for one link each: DHCP clients and pppd.
func dhcpClients() []client {
	return []client{
		{
			name: "dhclient", // dhclient-script(8): both families
			keys: []string{
				"reason", "interface",
				"new_ip_address", "old_ip_address", "new_subnet_mask", "new_routers", "new_domain_name_servers",
				"new_interface_mtu", "new_dhcp_lease_time",
				"new_rfc3442_classless_static_routes", "new_classless_static_routes", "new_unknown_121",
				"new_ip6_address", "old_ip6_address", "cur_ip6_address", "new_ip6_prefixlen",
				"new_ip6_prefix", "old_ip6_prefix", "cur_ip6_prefix",
				"new_max_life", "new_dhcp6_name_servers",
			},
			ifaceKey: []string{"interface"},
			idleKey:  "reason",
			idle:     []string{"PREINIT", "PREINIT6", "MEDIUM", "ARPCHECK", "ARPSEND"},
		},
		{
			name: "dhcpcd", // dhcpcd-run-hooks(8): DHCPv4, DHCPv6 and router advertisements
			keys: []string{
				"reason", "interface",
				"new_ip_address", "old_ip_address", "new_subnet_mask", "new_subnet_cidr", "new_routers",
				"new_domain_name_servers", "new_interface_mtu", "new_dhcp_lease_time", "new_classless_static_routes",
				"new_dhcp6_ia_na#_ia_addr#", "new_dhcp6_ia_na#_ia_addr#_vltime", "old_dhcp6_ia_na#_ia_addr#",
				"new_dhcp6_ia_ta#_ia_addr#", "new_dhcp6_ia_ta#_ia_addr#_vltime", "old_dhcp6_ia_ta#_ia_addr#",
				"new_dhcp6_ia_pd#_prefix#", "new_dhcp6_ia_pd#_prefix#_length", "new_dhcp6_ia_pd#_prefix#_vltime",
				"old_dhcp6_ia_pd#_prefix#", "old_dhcp6_ia_pd#_prefix#_length",
				"new_dhcp6_name_servers",
				"nd#_from", "nd#_lifetime", "nd#_addr#",
				"nd#_prefix_information#_prefix", "nd#_prefix_information#_length", "nd#_prefix_information#_vltime",
				"nd#_rdnss#_servers", "nd#_rdnss#_lifetime",
			},
			ifaceKey: []string{"interface"},
			idleKey:  "reason",
			idle: []string{
				"PREINIT", "CARRIER", "RECONFIGURE", "UNKNOWN", "TEST", "FAIL", "3RDPARTY", "NOCARRIER_ROAMING", "DELEGATED6",
			},
		},
		{
			name: "udhcpc", // BusyBox: the first argument is the action, and the variables have no prefix
			keys: []string{
				"interface", "ip", "subnet", "mask", "router", "dns", "mtu", "lease", "staticroutes",
			},
			ifaceKey: []string{"interface"},
			idleArg:  1,
			idle:     []string{"nak", "leasefail"},
		},
		{
			name:     "ppp", // pppd(8), "Scripts"; the first argument is the script's name, then those of pppd
			keys:     []string{"IFNAME", "IPLOCAL", "IPREMOTE", "DNS1", "DNS2"},
			ifaceKey: []string{"IFNAME"},
			ifaceArg: 2,
		},
	}
}

// Clients lists the names of all clients that are known, sorted.
func Clients() []string {
	var names []string
	for _, c := range clients() {
		names = append(names, c.name)
	}
	slices.Sort(names)
	return names
}

func find(name string) (client, bool) {
	for _, c := range clients() {
		if c.name == name {
			return c, true
		}
	}
	return client{}, false
}

// Allowed says whether a client's hook may pass on this key of the environment; an unknown client's may pass none.
func Allowed(client, key string) bool {
	c, _ := find(client)
	return c.allows(key)
}

func (c client) allows(key string) bool {
	return slices.ContainsFunc(c.keys, func(k string) bool { return matches(k, key) })
}

// matches says whether a key is one of a pattern's, in which each # stands for one digit or more.
func matches(pattern, key string) bool {
	for {
		before, after, numbered := strings.Cut(pattern, "#")
		rest, ok := strings.CutPrefix(key, before)
		if !numbered || !ok {
			return ok && rest == ""
		}
		key = strings.TrimLeft(rest, "0123456789")
		if key == rest {
			return false
		}
		pattern = after
	}
}

// Idle says that the call tells nothing at all, by the client's own word for its reason. A client waits for each of its
// hooks, so such a call is not worth a message.
func (m Message) Idle() bool {
	c, ok := find(m.Client)
	if !ok {
		return false
	}
	if c.idleArg > 0 && c.idleArg <= len(m.Args) && slices.Contains(c.idle, m.Args[c.idleArg-1]) {
		return true
	}
	return c.idleKey != "" && slices.Contains(c.idle, m.Env[c.idleKey])
}

// iface is the link's name by the client's word; empty where there is none.
func (c client) iface(m Message) string {
	if c.options {
		return optionValue(m.Args, optionInterface)
	}
	if c.ifaceArg > 0 && c.ifaceArg <= len(m.Args) && m.Args[c.ifaceArg-1] != "" {
		return m.Args[c.ifaceArg-1]
	}
	for _, k := range c.ifaceKey {
		if v := m.Env[k]; v != "" {
			return v
		}
	}
	return ""
}
