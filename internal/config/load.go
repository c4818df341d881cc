package config

import (
	"bytes"
	"path/filepath"
	"sort"
	"strings"
)

// Override is a setting given on the command line. It wins over files and is not lost by a reload; SET
// wins over it.
type Override struct{ Name, Value string }

// autoFileName is the file beside the main one in which ALTER keeps its values.
const autoFileName = "config.auto.toml"

// Load reads and validates a configuration: the main file, TOML or pgbouncer.ini, and config.auto.toml
// over it. The error is a [Problems] with everything that is wrong. Warnings may come with or without one.
func Load(path string) (*Config, []Warning, error) {
	l, err := load(loadArgs{path: path, files: newFileSet()})
	return l.cfg, l.warnings, err
}

// Check reads the configuration as [Load] does, has every prepare look at it as if it were about to
// replace a configuration without databases and users, and returns all that is wrong with it, and what is merely doubtful.
func Check(path string, prepares ...Prepare) (Problems, []Warning) {
	cfg, warnings, err := Load(path)
	if err != nil {
		return problemsOf(err), warnings
	}
	var problems Problems
	old := &Config{}
	defaults(&old.Settings)
	for _, p := range prepares {
		if _, err := p(old, cfg); err != nil {
			for _, problem := range problemsOf(err) {
				if problem.File == "" {
					problem.File = path
				}
				problems = append(problems, problem)
			}
		}
	}
	return problems, warnings
}

// loadArgs say what to load.
type loadArgs struct {
	path     string
	files    *fileSet
	autoPath string // "" is where the main file says
	// notEmpty refuses a main file without content: one that had some was caught while it is being saved, or
	// its disk is full, and to drop every database then would be worse than to wait.
	notEmpty bool
	// commands are laid over the files; keep says which of them hold beside the two documents.
	commands []entry
	keep     func(e entry, main, auto *document) bool
}

// loaded is a configuration with the documents it was made from.
type loaded struct {
	cfg      *Config
	main     *document // of the main file alone
	auto     *document // of config.auto.toml alone
	commands []entry   // those that were kept
	files    *fileSet
	autoPath string
	warnings []Warning
}

// load reads both files and builds them. With an error, cfg is nil and files tells what was looked at.
func load(a loadArgs) (*loaded, error) {
	l := &loaded{files: a.files}
	rep := &report{}
	l.main = readMain(a.path, a.files, rep)
	if text, err := a.files.read(a.path); a.notEmpty && err == nil && len(bytes.TrimSpace(text)) == 0 {
		rep.errorf(position{file: a.path}, "the file has become empty")
	}
	if err := rep.err(); err != nil {
		l.warnings = rep.warnings
		return l, err
	}
	l.autoPath = a.autoPath
	if l.autoPath == "" {
		l.autoPath = autoPathOf(a.path, l.main)
	}
	l.auto = readAuto(l.autoPath, a.files, rep)
	if err := rep.err(); err != nil {
		l.warnings = rep.warnings
		return l, err
	}
	for _, e := range a.commands {
		if a.keep == nil || a.keep(e, l.main, l.auto) {
			l.commands = append(l.commands, e)
		}
	}
	return l, l.build(a.path, rep)
}

// build makes l.cfg out of the documents and commands.
func (l *loaded) build(path string, rep *report) error {
	cfg, built := build(path, merge(l.main, l.auto, l.commands), l.files)
	l.warnings = sortedWarnings(append(rep.warnings, built.warnings...))
	if err := built.err(); err != nil {
		return err
	}
	if cfg.AutoConfigFile == "" {
		cfg.AutoConfigFile = autoPathOf(path, l.main)
	}
	l.cfg = cfg
	return nil
}

// merge lays the values of config.auto.toml over the main file's, and those of commands over both.
func merge(main, auto *document, commands []entry) *document {
	m := &document{baseDir: main.baseDir, peers: main.peers}
	m.settings = overlay(main.settings, auto.settings, settingsTable.canonical)
	for _, c := range commands {
		m.settings = overlay(m.settings, []entry{c}, settingsTable.canonical)
	}
	m.databases = mergeObjects(main.databases, auto.databases, databaseGroup)
	m.users = mergeObjects(main.users, auto.users, userGroup)
	return m
}

func mergeObjects(main, auto []object, canonical func(string) string) []object {
	out := append([]object(nil), main...)
	for _, a := range auto {
		if o := find(out, a.name); o != nil {
			o.entries = overlay(o.entries, a.entries, canonical)
		} else {
			out = append(out, a)
		}
	}
	return out
}

// readMain reads the main file in whichever notation it is written.
func readMain(path string, files *fileSet, rep *report) *document {
	text, err := files.read(path)
	if err != nil {
		rep.errorf(position{}, "cannot read configuration file %s: %v", path, why(err))
		return &document{}
	}
	if looksLikeINI(path, text) {
		return readINI(path, text, files, rep)
	}
	doc := readTOML(path, text, sourceMain, rep)
	doc.baseDir = filepath.Dir(path)
	return doc
}

// looksLikeINI tells pgbouncer.ini from TOML by content; the name decides where the content does not.
func looksLikeINI(path string, text []byte) bool {
	named := strings.EqualFold(filepath.Ext(path), ".ini")
	if tree, err := parseTOML(path, text); err == nil {
		_, section := tree["pgbouncer"]
		return section || named
	}
	if named {
		return true
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ";") || strings.HasPrefix(line, "%include") || line == "[pgbouncer]" {
			return true
		}
	}
	return false
}

// autoPathOf returns where config.auto.toml is for a main file.
func autoPathOf(path string, main *document) string {
	for _, e := range main.settings {
		name, ok := e.value.raw.(string)
		if e.key != "auto_config_file" || !ok || name == "" {
			continue
		}
		if main.baseDir != "" && !filepath.IsAbs(name) {
			name = filepath.Join(main.baseDir, name)
		}
		return name
	}
	return filepath.Join(filepath.Dir(path), autoFileName)
}

func sortedWarnings(w []Warning) []Warning {
	sort.SliceStable(w, func(i, j int) bool {
		if w[i].File != w[j].File {
			return false
		}
		return w[i].Line < w[j].Line
	})
	return w
}

// commandEntry is the entry for a value that was given by SET or on the command line.
func commandEntry(name, text string, src source) entry {
	return entry{key: name, value: value{text, dialectSQL}, source: src}
}

// What Origin.Source says of values that come from no file.
const (
	originDefault     = "default"
	originAuto        = "auto"
	originSet         = "SET"
	originCommandLine = "command line"
)
