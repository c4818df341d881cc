package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// notName matches what has no place in the name of a template's folder.
var notName = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// template returns a data directory as initdb makes it, from the cache if it is there. Everything that can
// be changed by configuration files is the same in all; only the superuser's stored password differs.
func template(ctx context.Context, in Installation, own owner, passwordEncryption string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "template-"+notName.ReplaceAllString(in.Version, "-")+"-"+passwordEncryption)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // somebody else made it while we waited
	}
	tmp, err := os.MkdirTemp(cache, "initdb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := own.give(tmp); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp, 0o700); err != nil {
		return "", err
	}
	pw := filepath.Join(tmp, "password")
	if err := own.writeFile(pw, SuperuserPassword+"\n", 0o600); err != nil {
		return "", err
	}
	data := filepath.Join(tmp, "data")
	cmd := own.command(tmp, filepath.Join(in.BinDir, "initdb"),
		"-D", data, "-U", Superuser, "--pwfile="+pw, "-A", passwordEncryption,
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb of PostgreSQL %s: %w: %s", in.Version, err, tail(string(out), 1000))
	}
	if err := os.Rename(data, dir); err != nil {
		return "", fmt.Errorf("keeping the initdb template: %w", err)
	}
	return dir, nil
}
