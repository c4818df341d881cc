package catalog

import (
	"fmt"
	"maps"
	"slices"
)

// Shard is a shard's catalog, for Combine.
type Shard struct {
	Name    string
	Catalog *Catalog
}

// Combine returns what the catalogs of all shards say together: the lead shard's, the lowest version, the differences of the others, and
// what only others have. home says on which shard all rows of a relation are, 0 for the lead shard and i for others[i-1], or -1 for one that
// is on all of them or that has no place; nil stands for -1. Such a relation is taken from that shard. One that its shard lacks and another
// has is listed too, because a search_path may find it there, with a difference of the kind DiffElsewhere.
//
// OIDs are the lead shard's. What only another shard has keeps its own if it is free, and otherwise gets one that no server uses.
func Combine(home func(Name) int, lead *Catalog, others ...Shard) *Catalog {
	c := *lead
	c.Differences = nil
	c.Schemas, c.Relations, c.Indexes = maps.Clone(lead.Schemas), maps.Clone(lead.Relations), maps.Clone(lead.Indexes)
	c.Types, c.TypeNames = maps.Clone(lead.Types), maps.Clone(lead.TypeNames)
	c.Functions, c.byOID = maps.Clone(lead.Functions), maps.Clone(lead.byOID)
	c.Operators, c.Casts = maps.Clone(lead.Operators), slices.Clone(lead.Casts)
	if home == nil {
		home = func(Name) int { return -1 }
	}
	next := ^uint32(0)
	for i, o := range others {
		c.Version = min(c.Version, o.Catalog.Version)
		c.Differences = append(c.Differences, Compare(lead, o.Catalog, o.Name)...)
		a := adoption{c: &c, other: o.Catalog, next: &next, types: map[uint32]uint32{}, functions: map[uint32]uint32{}}
		for name := range o.Catalog.Schemas {
			c.Schemas[name] = true
		}
		for index, table := range o.Catalog.Indexes {
			if have, ok := c.Indexes[index]; ok && have != table {
				table = Name{}
			}
			c.Indexes[index] = table
		}
		a.adoptTypes()
		a.adoptFunctions()
		for name, rel := range o.Catalog.Relations {
			if rel.table() && (home(name) == i+1 || c.Relations[name] == nil) {
				c.Relations[name] = a.relation(rel)
			}
		}
	}
	c.Differences = append(c.Differences, strays(&c, home, lead, others)...)
	return &c
}

// table says whether the relation is one that FROM may name and that users have made.
func (r *Relation) table() bool {
	if System(r.Schema) || r.Schema == guardSchema {
		return false
	}
	switch r.Kind {
	case 'r', 'p', 'v', 'm', 'f':
		return true
	}
	return false
}

// strays lists the relations that are not on the shard where all of their rows should be, but on another one.
func strays(c *Catalog, home func(Name) int, lead *Catalog, others []Shard) []Difference {
	var found []Difference
	for name, rel := range c.Relations {
		at := home(name)
		if at < 0 || at > len(others) || !rel.table() {
			continue
		}
		its, shard := lead, "lead"
		if at > 0 {
			its, shard = others[at-1].Catalog, others[at-1].Name
		}
		if its.Relations[name] == nil {
			found = append(found, Difference{Shard: shard, Kind: DiffElsewhere, Relation: name, Lead: kindName(rel.Kind)})
		}
	}
	slices.SortFunc(found, compareDifferences)
	return found
}

// adoption takes what only another shard has into a catalog.
type adoption struct {
	c, other         *Catalog
	next             *uint32           // the next OID that no server uses
	types, functions map[uint32]uint32 // OIDs there -> OIDs here
}

// oid returns an OID for something of the other shard that is not taken here.
func (a *adoption) oid(there uint32, taken func(uint32) bool) uint32 {
	if !taken(there) {
		return there
	}
	*a.next--
	return *a.next + 1
}

func (a *adoption) adoptTypes() {
	for oid := range a.other.Types {
		a.typeOID(oid)
	}
}

// typeOID returns the OID here of a type of the other shard, 0 if it is not known there.
func (a *adoption) typeOID(oid uint32) uint32 {
	if oid < firstUserOID {
		return oid
	}
	if here, ok := a.types[oid]; ok {
		return here
	}
	t := a.other.Types[oid]
	if t == nil {
		return 0
	}
	if own := a.c.TypeNames[t.Name]; own != nil {
		a.types[oid] = own.OID
		return own.OID
	}
	own := *t
	own.OID = a.oid(oid, func(n uint32) bool { return a.c.Types[n] != nil })
	a.types[oid] = own.OID // types refer to each other in circles
	a.c.Types[own.OID], a.c.TypeNames[own.Name] = &own, &own
	own.Base, own.Element, own.Array, own.direct = a.typeOID(t.Base), a.typeOID(t.Element), a.typeOID(t.Array), a.typeOID(t.direct)
	return own.OID
}

func (a *adoption) adoptFunctions() {
	for name, list := range a.other.Functions {
		if System(name.Schema) {
			continue
		}
		for _, f := range list {
			a.function(f)
		}
	}
	for symbol, list := range a.other.Operators {
		for _, o := range list {
			own := *o
			own.Left, own.Right, own.Result, own.Function = a.typeOID(o.Left), a.typeOID(o.Right), a.typeOID(o.Result), a.functionOID(o.Function)
			if !slices.ContainsFunc(a.c.Operators[symbol], func(have *Operator) bool { return *have == own }) {
				a.c.Operators[symbol] = append(slices.Clip(a.c.Operators[symbol]), &own)
			}
		}
	}
	for _, k := range a.other.Casts {
		own := Cast{Source: a.typeOID(k.Source), Target: a.typeOID(k.Target), Function: a.functionOID(k.Function), Context: k.Context}
		if !slices.Contains(a.c.Casts, own) {
			a.c.Casts = append(a.c.Casts, own)
		}
	}
}

func (a *adoption) functionOID(oid uint32) uint32 {
	if here, ok := a.functions[oid]; ok {
		return here
	}
	return oid
}

// function takes a function over, unless there is one here that is called and judged alike. One of another kind stands beside it, so that a
// call is judged by both.
func (a *adoption) function(f *Function) {
	own := *f
	own.Returns = a.typeOID(f.Returns)
	own.Args = make([]uint32, len(f.Args))
	for i, t := range f.Args {
		own.Args[i] = a.typeOID(t)
	}
	for _, have := range a.c.Functions[f.Name] {
		if slices.Equal(have.Args, own.Args) && have.Category == own.Category && have.Reaches == own.Reaches && have.Volatility == own.Volatility &&
			have.Kind == own.Kind && have.Set == own.Set && have.Variadic == own.Variadic && have.Defaults == own.Defaults && have.Returns == own.Returns {
			a.functions[f.OID] = have.OID
			return
		}
	}
	own.OID = a.oid(f.OID, func(n uint32) bool { return a.c.byOID[n] != nil })
	a.functions[f.OID] = own.OID
	a.c.byOID[own.OID] = &own
	a.c.Functions[f.Name] = append(slices.Clip(a.c.Functions[f.Name]), &own)
}

// relation returns a relation of the other shard with the types of this catalog.
func (a *adoption) relation(r *Relation) *Relation {
	own := *r
	own.Columns = slices.Clone(r.Columns)
	for i := range own.Columns {
		c := &own.Columns[i]
		c.Type, c.Base = a.typeOID(c.Type), a.typeOID(c.Base)
	}
	return &own
}

func (d Difference) elsewhere() string {
	return fmt.Sprintf("shard %s: %s is not there, which is where its rows should be; another shard has a %s of that name", d.Shard, d.Relation, d.Lead)
}
