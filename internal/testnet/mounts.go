package testnet

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// prepare is the inner process's first work: private mounts, its own /run, /etc and /sys, loopback up.
func prepare() error {
	if err := os.Unsetenv(envSetup); err != nil {
		return fmt.Errorf("unset %s: %w", envSetup, err)
	}
	if err := os.Setenv(EnvInside, "1"); err != nil {
		return fmt.Errorf("set %s: %w", EnvInside, err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := shieldRun(); err != nil {
		return err
	}
	shieldEtc()
	mountSysfs()
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// mountSysfs makes /sys/class/net show the current namespace. Containers that mask parts of /sys forbid it
// (mount_too_revealing in fs/namespace.c); then /sys stays as it is: nothing here reads it.
func mountSysfs() {
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// shieldRun mounts an empty /run: a program under test that falls back to its default directory must not write to the
// machine's. Where the system itself lives there (NixOS), the machine's stays.
func shieldRun() error {
	if _, err := os.Stat("/run/current-system"); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount a private /run: %w", err)
	}
	return nil
}

// shieldEtc makes /etc copy-on-write, for real root's sake: names of tables go there by default, and dhclient-script
// writes resolv.conf. Others may not write there anyway, so it does not matter where the kernel has no overlayfs for them.
func shieldEtc() {
	const changes = "/run/.testnet-etc"
	if _, err := os.Stat("/run/current-system"); err == nil {
		return
	}
	for _, dir := range []string{changes, changes + "/upper", changes + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return
		}
	}
	_ = unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+changes+"/upper,workdir="+changes+"/work")
}
