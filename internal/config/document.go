package config

import "slices"

// source tells which layer of the configuration an entry belongs to.
type source uint8

const (
	sourceMain   source = iota // the main file and what it includes
	sourceAuto                 // config.auto.toml
	sourceOption               // options of the command line
	sourceSet                  // SET
)

// entry is one key with its value, as written.
type entry struct {
	key    string
	value  value
	at     position
	source source
	hides  position    // of the entry of the main file that this one replaced, if any
	places *tomlPlaces // of what is inside the value, if it is known
	path   string      // of the value in places
}

// object is one database, user or peer: a named list of entries.
type object struct {
	name    string
	at      position
	source  source
	entries []entry
}

// document is what a reader makes of a file, before any of it is understood.
type document struct {
	settings  []entry
	databases []object
	users     []object
	peers     []object
	baseDir   string // relative file names count from here; "" is the working directory
}

// sectionNames are the TOML tables and ini sections that hold objects.
var sectionNames = []string{"databases", "users", "peers"}

// section returns the list of objects that a section name stands for, or nil.
func (d *document) section(name string) *[]object {
	switch name {
	case "databases":
		return &d.databases
	case "users":
		return &d.users
	case "peers":
		return &d.peers
	default:
		return nil
	}
}

func find(objects []object, name string) *object {
	for i := range objects {
		if objects[i].name == name {
			return &objects[i]
		}
	}
	return nil
}

// overlay returns entries with those of over in place of everything that has the same canonical key.
func overlay(entries, over []entry, canonical func(string) string) []entry {
	out := slices.Clone(entries)
	for _, o := range over {
		name := canonical(o.key)
		out = slices.DeleteFunc(out, func(e entry) bool {
			if canonical(e.key) != name || e.source == o.source {
				return false
			}
			if e.source == sourceMain {
				o.hides = e.at
			} else {
				o.hides = e.hides
			}
			return true
		})
		out = append(out, o)
	}
	return out
}

// canonical returns the row's own name for one of its names; unknown names are returned as they are.
func (t *table[T]) canonical(name string) string {
	if r, ok := t.byName[name]; ok {
		return r.Name
	}
	return name
}
