package uplink

import (
	"fmt"
	"path"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// managedNames are the names, as globs, that managers of containers and virtual machines give to the host's ends of their
// links. Such a link leads to guests, whatever somebody's stray default route says. A guest's own end has another name: eth0,
// ens3, host0, mv-*. Bridges that people make themselves (br0, br-lan, vmbr0, xenbr0) are not among them: there the host's
// own address and its way out are.
func managedNames() []string {
	hex12 := ""
	for range 12 {
		hex12 += "[0-9a-f]"
	}
	return []string{
		"docker0", "docker_gwbridge", "br-" + hex12, "buildkit[0-9]*", "nerdctl*", // docker, buildkitd, nerdctl
		"podman[0-9]*", "cni[0-9]*", "cni-podman*", // podman, CNI's bridge plugin, CRI-O, k3s
		"virbr*", "vnet[0-9]*", // libvirt
		"lxcbr*", "lxdbr*", "incusbr*", "mpbr*", "mpqemubr*", // lxc, lxd, incus, multipass
		"veth*", "vb-*", "ve-*", "vz-*", // veth's own default and everybody's prefix, systemd-nspawn
		"fwbr[0-9]*", "fwln[0-9]*", "fwpr[0-9]*", "tap[0-9]*i[0-9]*", // Proxmox VE's firewall bridges and guests; not vmbr*
		"flannel*", "cali*", "vxlan.calico", "vxlan-v6.calico", "weave", "vethwe-*", "kube-bridge", "cbr0", // Kubernetes
		"lxc[0-9a-f]*", "lxc_health", "cilium_*", "antrea-gw*", "ovn-k8s-mp*", "kube-ipvs0", "nodelocaldns", "azv*",
		"br-int", "ovs-system", "vxlan_sys_*", "genev_sys_*", "qbr*", "qvb*", "qvo*", // Open vSwitch, OVN, OpenStack Neutron
		"vif[0-9]*", "vmnet[0-9]*", "vboxnet[0-9]*", "waydroid0", // Xen, VMware, VirtualBox, Waydroid
	}
}

// isManaged says whether a link belongs to a manager of containers or virtual machines, by its name. Only a link that
// software made can: hardware of such a name was called that by its owner.
func isManaged(l rpdb.Link) bool {
	return l.Kind != "" && slices.ContainsFunc(managedNames(), func(glob string) bool {
		ok, err := path.Match(glob, l.Name)
		return ok && err == nil
	})
}

// managed says whether a link is left to its manager: the configuration may name it and say otherwise. A section that only
// says a kind does not name anybody.
func (d *deriver) managed(l rpdb.Link) bool {
	return isManaged(l) && !d.in.Config.Names(l.Name, l.MAC, LinkKind(l))
}

// noteManaged tells of a link that would be an uplink if it had another name: there is a default route by it, or a lease.
func (d *deriver) noteManaged(l rpdb.Link) {
	if !d.managed(l) || !eligible(l, d.settings(l)) || len(d.routeWords(l))+len(d.leases[l.Index]) == 0 {
		return
	}
	if slices.ContainsFunc(d.addresses[l.Index], usable) {
		name := rpdb.Printable(l.Name)
		d.problems = append(d.problems, fmt.Sprintf("%s has a way out and is no uplink: by its name it leads to containers or virtual "+
			"machines; include = [%q], or a section with interface = %q, makes it one", name, name, name))
	}
}
