package hookwire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OpenSpool opens the spool of an existing runtime directory, made where it is missing. It refuses one that anybody but root
// and this user may write to, or that is a symbolic link: hook and daemon have to trust the same directories.
func OpenSpool(runtimeDir string) (*os.Root, error) {
	dir := filepath.Join(runtimeDir, SpoolName)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && (!os.SameFile(link, info) || !private(info)) {
		err = fmt.Errorf("%s must be a directory of root or this user, with mode 0700", dir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// private says whether nobody but root and this user can have written there.
func private(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && info.Mode().Perm()&0o077 == 0 && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
}
