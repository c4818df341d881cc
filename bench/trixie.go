package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Debian 13's PgBouncer, for the scenarios that need one with prepared statements in transaction mode. On
// an older Debian it runs out of a folder that holds its packages, with the dynamic linker and the
// libraries that it was built with, so that nothing of the system is touched.
const (
	trixieSuite   = "trixie"
	mirrorEnv     = "DEBIAN_MIRROR"
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// newerPgBouncer returns Debian 13's PgBouncer, fetched (about 25 MB, once) if fetch allows it.
func newerPgBouncer(ctx context.Context, fetch bool) (contender, error) {
	root, err := cacheFolder("pgbouncer-" + trixieSuite)
	if err != nil {
		return contender{}, err
	}
	command, err := foreignCommand(root, "usr/sbin/pgbouncer")
	if errors.Is(err, os.ErrNotExist) {
		if !fetch {
			return contender{}, errors.New("it is not in the cache, and fetching is switched off")
		}
		if err := fetchTrixie(ctx, root); err != nil {
			return contender{}, err
		}
		command, err = foreignCommand(root, "usr/sbin/pgbouncer")
	}
	if err != nil {
		return contender{}, err
	}
	return describePgBouncer(ctx, command)
}

// cacheFolder returns the name of a folder that lasts. Root's lies outside its home, where the account of
// the poolers could not enter.
func cacheFolder(name string) (string, error) {
	base := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache folder: %w", err)
		}
	}
	return filepath.Join(base, "pgdrover", "bench", name), nil
}

// foreignCommand returns the command line that runs a program of the Debian tree at root with that tree's
// own dynamic linker. The error is os.ErrNotExist where the tree is not there.
func foreignCommand(root, program string) ([]string, error) {
	var linker string
	for _, pattern := range []string{"lib64/ld-linux-*.so.*", "lib/ld-linux-*.so.*"} {
		found, err := filepath.Glob(filepath.Join(root, "usr", pattern))
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			linker = found[0]
			break
		}
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	if linker == "" || len(libraries) == 0 {
		return nil, fmt.Errorf("no dynamic linker below %s: %w", root, os.ErrNotExist)
	}
	path := filepath.Join(root, program)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return []string{linker, "--library-path", strings.Join(libraries, ":"), path}, nil
}

// fetchTrixie downloads PgBouncer and the libraries it needs with apt-get, which checks the signatures,
// and unpacks them at root. It keeps apt's state in a folder of its own and needs no privileges.
func fetchTrixie(ctx context.Context, root string) error {
	for _, need := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(need); err != nil {
			return fmt.Errorf("fetching it takes %s, which is not here", need)
		}
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		return fmt.Errorf("fetching it takes Debian's keys: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(root), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// MkdirTemp makes a private folder; what becomes the tree must be readable by other accounts.
	tree := filepath.Join(work, "tree")
	for _, dir := range []string{"lists/partial", "archives/partial", "tree"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	if err := aptDownload(ctx, work, "pgbouncer"); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(work, "archives", "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range packages {
		if !isRuntimePackage(filepath.Base(deb)) {
			continue
		}
		if err := runQuietly(ctx, "dpkg-deb", "-x", deb, tree); err != nil {
			return err
		}
	}
	if err := os.Chmod(tree, 0o755); err != nil { // the archives carry a mode for it, too
		return err
	}
	if err := os.RemoveAll(root); err != nil { // an incomplete one
		return err
	}
	if err := os.Rename(tree, root); err != nil {
		return fmt.Errorf("keep the fetched tree: %w", err)
	}
	return nil
}

// debianMirror returns where this machine gets Debian's packages, unless DEBIAN_MIRROR names another place.
func debianMirror(ctx context.Context) (string, error) {
	if m := os.Getenv(mirrorEnv); m != "" {
		return m, nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for its sources: %w", err)
	}
	for _, uri := range strings.Fields(string(out)) {
		if uri = strings.TrimSuffix(uri, "/"); strings.HasSuffix(uri, "/debian") {
			return uri, nil
		}
	}
	return "", errors.New("apt has no source of Debian's; set " + mirrorEnv)
}

// aptDownload fetches a package with all it depends on into work/archives. An empty package database makes
// apt think of a bare machine.
func aptDownload(ctx context.Context, work, pkg string) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeyring, mirror, trixieSuite)
	for name, text := range map[string]string{"sources.list": source, "status": ""} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	options := []string{
		"-qq",
		"-o", "Dir::State=" + work,
		"-o", "Dir::State::status=" + filepath.Join(work, "status"),
		"-o", "Dir::Cache=" + work,
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(work, "sources.list"),
		"-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::Etc::preferencesparts=-",
		"-o", "APT::Sandbox::User=root", // its usual account cannot write to a private folder
		"-o", "APT::Install-Recommends=false",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=2",
		"-o", "Debug::NoLocking=true",
	}
	if err := runQuietly(ctx, "apt-get", append(options, "update")...); err != nil {
		return err
	}
	return runQuietly(ctx, "apt-get", append(options, "--yes", "--download-only", "install", pkg)...)
}

// isRuntimePackage says whether a downloaded package can hold something that the program loads: itself and
// libraries, not Perl and the tools that its installation scripts use.
func isRuntimePackage(file string) bool {
	return strings.HasPrefix(file, "pgbouncer_") ||
		strings.HasPrefix(file, "lib") && !strings.HasPrefix(file, "libperl") && !strings.Contains(file, "-perl_")
}

// runQuietly runs a command and shows its output only if it fails.
func runQuietly(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
