package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// dirPrefix begins the name of every cluster's folder. The names are short because the path of a Unix
// socket must fit into 107 bytes.
const dirPrefix = "pgt-"

// clusterParent is the folder for clusters: the temporary one, unless its own name is too long for sockets.
// Symbolic links are resolved, because processes are recognised by their working directory.
func clusterParent() string {
	if dir, err := filepath.EvalSymlinks(os.TempDir()); err == nil && len(dir) <= 60 && filepath.IsAbs(dir) {
		return dir
	}
	return "/tmp"
}

// newClusterDir creates and locks a folder for one cluster.
func newClusterDir() (dir string, lock *os.File, err error) {
	for {
		dir, err = os.MkdirTemp(clusterParent(), dirPrefix+strconv.Itoa(os.Geteuid())+"-")
		if err != nil {
			return "", nil, err
		}
		lock, err = tryLock(filepath.Join(dir, "lock"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
		if lock == nil {
			continue // a sweeper took the new folder for an old one; it removes it
		}
		if err := os.Chmod(dir, 0o755); err == nil {
			return dir, lock, nil
		}
		_ = lock.Close()
	}
}

// sweep removes the clusters of owners that were killed: their folders' locks are free. Folders that have
// no lock yet are being made by somebody.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(clusterParent(), dirPrefix+strconv.Itoa(os.Geteuid())+"-*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "lock")
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || !ownedBy(info, os.Geteuid()) {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			continue
		}
		lock, err := tryLock(path)
		if err != nil || lock == nil {
			continue
		}
		removeCluster(dir)
		_ = lock.Close()
	}
}

func ownedBy(info os.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

// removeCluster ends what still runs in a cluster's folder and removes the folder. The caller has its lock.
func removeCluster(dir string) {
	data := filepath.Join(dir, "data")
	endProcesses(data)
	removeSharedMemory(data)
	_ = os.RemoveAll(dir)
}

// endProcesses kills all processes of a server and waits until they are gone.
func endProcesses(dataDir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = poll(ctx, func() (bool, error) {
		pids := serverProcesses(dataDir)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0, nil
	})
}
