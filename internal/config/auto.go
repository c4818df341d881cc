package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// notInAuto are the settings that say where files are, which one of those files cannot do.
var notInAuto = []string{"auto_config_file", "conffile"}

// readAuto reads config.auto.toml. A missing file is an empty one; a broken file is an error that names it.
func readAuto(path string, files *fileSet, rep *report) *document {
	text, err := files.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &document{}
	}
	if err != nil {
		rep.errorf(position{}, "cannot read %s: %v", path, why(err))
		return &document{}
	}
	doc := readTOML(path, text, sourceAuto, rep)
	for _, e := range doc.settings {
		for _, name := range notInAuto {
			if e.key == name {
				rep.errorf(e.at, "%s must not be set in this file", name)
			}
		}
	}
	for _, p := range doc.peers {
		rep.errorf(p.at, "peers must not be set in this file")
	}
	return doc
}

// freshAuto reads config.auto.toml from disk, where another process may have changed it.
func freshAuto(path string) (*document, error) {
	rep := &report{}
	doc := readAuto(path, newFileSet(), rep)
	return doc, rep.err()
}

const autoHeader = `# Values of ALTER SYSTEM, ALTER DATABASE and ALTER USER, and shards, keys and tables that commands have changed. Do not edit
# this file by hand: the next such command writes it anew. It is read after the main configuration file and wins over it.
`

// renderAuto writes doc as TOML, in an order that does not depend on the order of commands.
func renderAuto(path string, doc *document) ([]byte, error) {
	var b strings.Builder
	b.WriteString(autoHeader)
	// Tables of their own stand behind all other values, because what follows them would belong to them.
	write := func(entries []entry, section string) error {
		entries = slices.Clone(entries)
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
		var tables strings.Builder
		for _, e := range entries {
			if isShardingKey(e.key) && section != "" {
				done, err := writeTable(&tables, section+"."+tomlKey(e.key), e.value.raw)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				if done {
					continue
				}
			}
			text, ok := tomlValue(e.value.raw)
			if !ok {
				return fmt.Errorf("%s: %s must not be %s", path, e.key, tomlTypeName(e.value.raw))
			}
			fmt.Fprintf(&b, "%s = %s\n", tomlKey(e.key), text)
		}
		b.WriteString(tables.String())
		return nil
	}
	if err := write(doc.settings, ""); err != nil {
		return nil, err
	}
	for _, section := range []string{"databases", "users"} {
		objects := slices.Clone(*doc.section(section))
		slices.SortFunc(objects, func(a, b object) int { return cmp.Compare(a.name, b.name) })
		for _, o := range objects {
			path := section + "." + tomlKey(o.name)
			fmt.Fprintf(&b, "\n[%s]\n", path)
			if err := write(o.entries, path); err != nil {
				return nil, err
			}
		}
	}
	return []byte(b.String()), nil
}

// tomlOf turns a parsed value into the type that go-toml would read it as.
func tomlOf(parsed any) any {
	switch v := parsed.(type) {
	case time.Duration:
		if v%time.Second == 0 {
			return int64(v / time.Second)
		}
		return v.Seconds()
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		return list
	default:
		return parsed
	}
}

// tomlValue writes a scalar or a list as TOML; ok is false for anything else.
func tomlValue(raw any) (text string, ok bool) {
	switch v := raw.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
		if strings.Trim(text, "-0123456789") == "" {
			text += ".0"
		}
		return text, true
	case bool:
		return strconv.FormatBool(v), true
	case string:
		return tomlString(v), utf8.ValidString(v)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			if parts[i], ok = tomlValue(v[i]); !ok {
				return "", false
			}
		}
		return "[" + strings.Join(parts, ", ") + "]", true
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			text, ok := tomlValue(v[k])
			if !ok || !utf8.ValidString(k) {
				return "", false
			}
			parts = append(parts, tomlKey(k)+" = "+text)
		}
		if len(parts) == 0 {
			return "{}", true
		}
		return "{ " + strings.Join(parts, ", ") + " }", true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return fmt.Sprint(v), true
	default:
		return "", false
	}
}

// lockWait is how long another process may hold the lock on config.auto.toml.
const lockWait = 5 * time.Second

// lockFolderOf takes the lock under which the file at path is changed: one on its folder, because the
// file itself is replaced by each change.
func lockFolderOf(path string) (unlock func(), err error) {
	folder := filepath.Dir(realPath(path))
	d, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = d.Close() }, nil // closing releases it
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			_ = d.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", folder, err)
		case time.Now().After(deadline):
			_ = d.Close()
			return nil, fmt.Errorf("cannot lock %s: another process has held the lock for %s", folder, lockWait)
		}
	}
}

// realPath follows a symbolic link in the last part of path, so that the file behind it is replaced.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// writeAuto replaces the file at path so that after a crash either the old or the new one is there.
func writeAuto(path string, text []byte) error {
	path = realPath(path)
	folder, name := filepath.Split(path)
	temporary := folder + "." + name + ".new" // one name will do under the lock, and leaves no litter
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w; auto_config_file may name a file in another folder", path, err)
	}
	err = f.Chmod(0o600)
	if err == nil {
		_, err = f.Write(text)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", path, err), os.Remove(temporary))
	}
	if folder == "" {
		folder = "."
	}
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", folder, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", folder, err)
	}
	return nil
}
