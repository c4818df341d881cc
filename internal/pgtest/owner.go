package pgtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An owner is the operating system's user that PostgreSQL's programs run as. The zero value is the caller.
type owner struct {
	switched bool // whether it is another user than the caller
	uid, gid int
}

// findOwner returns the caller, or under root an unprivileged user, because PostgreSQL refuses root.
func findOwner() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{}, nil
	}
	for _, name := range [...]string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return owner{}, fmt.Errorf("user %s: %w", name, err)
		}
		return owner{switched: true, uid: uid, gid: gid}, nil
	}
	return owner{}, errors.New("running as root, and there is neither a user postgres nor nobody to run PostgreSQL as")
}

// command returns a program to be run as o in dir, with an environment that no PG… variable and no locale
// of the caller reaches.
func (o owner) command(dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if o.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return cmd
}

// give hands a file over to o.
func (o owner) give(path string) error {
	if !o.switched {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

// mkdir creates a folder that belongs to o.
func (o owner) mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil { // the umask may have taken bits away
		return err
	}
	return o.give(path)
}

// writeFile writes a file that belongs to o.
func (o owner) writeFile(path, content string, mode os.FileMode) error {
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return o.give(path)
}

// copyTree copies a data directory into dst, which it creates; everything in it will belong to o. skip
// tells, by path relative to src, what to leave out. Files that vanish while they are copied are left out
// too: a running server removes files, and its backup does not need them.
func (o owner) copyTree(src, dst string, skip func(rel string, dir bool) bool) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && path != src {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case rel != "." && skip != nil && skip(rel, e.IsDir()):
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case e.IsDir():
			return o.mkdir(to, 0o700)
		case e.Type().IsRegular():
			if err := copyFile(path, to); errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if err != nil {
				return err
			}
			return o.give(to)
		default:
			return fmt.Errorf("%s is neither file nor folder (tablespaces are not supported)", path)
		}
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
