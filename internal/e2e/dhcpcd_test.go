package e2e

import (
	"testing"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestDhcpcd runs the built programs with dhcpcd. It can be heard of in three ways: by its hook, by its socket, and by the
// routes that it puts into main. Each is tried where the others are silent, and then all of them together.
func TestDhcpcd(t *testing.T) {
	for _, program := range []string{"go", "dhcpcd", "dnsmasq", "radvd", "ip", "unshare", "mount"} {
		testnet.Need(t, program)
	}
	needUserIDs(t, "dhcpcd gives up root for a user of its own")
	bin := buildPrograms(t)
	testClient(t, bin, "hook/", dhcpcd{hook: true}, dhcpcdScenarios(), brokenScenarios(), map[string]func(*dhcpHost){
		"classless":       scenarioClassless,
		"slash32":         scenarioSlash32,
		"exit":            dhcpcdExit,
		"kill":            scenarioKill,
		"carrier":         dhcpcdCarrier,
		"expire":          scenarioExpire,
		"reboot":          scenarioReboot,
		"link-down":       dhcpcdLinkDown,
		"unplugged":       scenarioUnplugged,
		"hostile-renewal": scenarioHostileRenewal,
	})
	testClient(t, bin, "socket/", dhcpcd{socket: true}, dhcpcdScenarios(), map[string]func(*dhcpHost){
		"crash": scenarioCrash,
	})
	testClient(t, bin, "netlink/", dhcpcd{gateway: true}, dhcpcdScenarios(), map[string]func(*dhcpHost){
		"bind":      scenarioBind,
		"together":  scenarioTogether,
		"classless": scenarioClassless,
		"exit":      dhcpcdExit,
		"carrier":   dhcpcdCarrier,
		"dhcpv6":    scenarioIPv6, // neither hook nor socket names the gateway of a DHCPv6 lease
	})
	testClient(t, bin, "", dhcpcd{hook: true, socket: true, gateway: true}, map[string]func(*dhcpHost){
		"bind":     scenarioBind,
		"together": scenarioTogether,
		"router":   scenarioOtherRouter,
		"renumber": scenarioRenumber,
		"release":  scenarioRelease,
		"carrier":  dhcpcdCarrier,
		"dhcpv6":   scenarioIPv6,
		"off-link": dhcpcdOffLink,
		"hostile":  scenarioHostile,
	})
}

// dhcpcdScenarios is what has to work in whatever way uplinkd hears of dhcpcd.
func dhcpcdScenarios() map[string]func(*dhcpHost) {
	return map[string]func(*dhcpHost){
		"router":        scenarioOtherRouter,
		"renumber":      scenarioRenumber,
		"release":       scenarioRelease,
		"change-unseen": scenarioChangeUnseen,
		"manager":       dhcpcdManager,
		"ra":            dhcpcdAdvertised,
	}
}
