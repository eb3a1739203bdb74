package hookwire

import (
	"slices"
	"strings"
)

// client is one line of the table of clients: what its hook may take out of the environment, and where it names its link.
type client struct {
	name     string
	keys     []string // exact keys
	prefixes []string // and all keys that start so
	ifaceKey []string // the keys that may hold the link's name; the first that is set counts
	ifaceArg int      // the argument that holds it, counted from 1; 0: none. It counts before the keys.
	idleKey  string   // the key whose values in idle say that there is nothing to tell
	idle     []string
}

// clients is the table. What is not in it is not sent: host names, boot files, proxy addresses and the like are text that
// a stranger wrote, and nobody here needs them.
func clients() []client {
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
	if slices.Contains(c.keys, key) {
		return true
	}
	for _, p := range c.prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// Idle says that the call tells nothing at all, by the client's own word for its reason. A client waits for each of its
// hooks, so such a call is not worth a message.
func (m Message) Idle() bool {
	c, ok := find(m.Client)
	return ok && c.idleKey != "" && slices.Contains(c.idle, m.Env[c.idleKey])
}

// iface is the link's name by the client's word; empty where there is none.
func (c client) iface(m Message) string {
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
