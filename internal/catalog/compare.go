package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// DifferenceKind says what differs.
type DifferenceKind string

// The kinds of differences.
const (
	DiffVersion    DifferenceKind = "version"    // major versions
	DiffEncoding   DifferenceKind = "encoding"   // of the database
	DiffLocale     DifferenceKind = "locale"     // lc_collate, lc_ctype, provider or version of the default collation
	DiffSearchPath DifferenceKind = "searchpath" // what search_path is by default
	DiffMissing    DifferenceKind = "missing"    // the relation, column or type is not there
	DiffExtra      DifferenceKind = "extra"      // the relation or column is not on the lead shard
	DiffKind       DifferenceKind = "kind"       // a table here, a view there
	DiffOrder      DifferenceKind = "order"      // the columns are in another order
	DiffType       DifferenceKind = "type"       // of a column, by name and modifier
	DiffCollation  DifferenceKind = "collation"  // of a column
	DiffNull       DifferenceKind = "null"       // NOT NULL on one side only
	DiffGenerated  DifferenceKind = "generated"  // identity or generated on one side only
	DiffDefinition DifferenceKind = "definition" // of a view, or the labels of an enum
	DiffElsewhere  DifferenceKind = "elsewhere"  // the relation is on another shard than the one where all of its rows should be; only Combine finds it
	DiffEmpty      DifferenceKind = "empty"      // the reference table has no rows there, and has some on shard Lead; neither Compare nor Combine finds it
	DiffTypeOID    DifferenceKind = "type-oid"   // the type's OID differs, as those of users' types do; see Difference.Lead and Other
)

// Difference is one thing in which a shard is not like the lead shard.
type Difference struct {
	Shard    string
	Kind     DifferenceKind
	Relation Name   // zero for what concerns the whole database; of an enum the type
	Column   string // "" for the relation itself
	// Lead and Other are the two values as text; of DiffTypeOID the OIDs.
	Lead, Other string
}

func (d Difference) String() string {
	switch d.Kind {
	case DiffElsewhere:
		return d.elsewhere()
	case DiffEmpty:
		return fmt.Sprintf("reference table %s has no rows on shard %s, and has some on shard %s", d.Relation, d.Shard, d.Lead)
	}
	what := "database"
	if d.Relation != (Name{}) {
		what = d.Relation.String()
		if d.Column != "" {
			what += "." + d.Column
		}
	}
	return fmt.Sprintf("shard %s: %s: %s is %q, on the lead shard %q", d.Shard, what, d.Kind, d.Other, d.Lead)
}

// Harmless tells whether it is no reason to doubt the result of a statement: type OIDs are to be heeded only where they are sent.
func (d Difference) Harmless() bool { return d.Kind == DiffTypeOID }

// Compare returns in what other, the catalog of the named shard, differs from lead, ordered by relation. Types are compared by
// name. What only one server has need of (its own schemas, and pgdrover's) is left out.
func Compare(lead, other *Catalog, shard string) []Difference {
	d := comparison{lead: lead, other: other, shard: shard}
	d.value(DiffVersion, Name{}, "", fmt.Sprint(lead.Version/10000), fmt.Sprint(other.Version/10000))
	d.value(DiffEncoding, Name{}, "", lead.Encoding, other.Encoding)
	d.value(DiffLocale, Name{}, "", lead.locale(), other.locale())
	d.value(DiffSearchPath, Name{}, "", lead.SearchPath, other.SearchPath)
	for name, a := range lead.Relations {
		if System(name.Schema) || name.Schema == guardSchema {
			continue
		}
		if b := other.Relations[name]; b != nil {
			d.relation(a, b)
		} else {
			d.add(DiffMissing, name, "", kindName(a.Kind), "")
		}
	}
	for name, b := range other.Relations {
		if lead.Relations[name] == nil && !System(name.Schema) && name.Schema != guardSchema {
			d.add(DiffExtra, name, "", "", kindName(b.Kind))
		}
	}
	for name, a := range lead.TypeNames {
		if a.Kind == 'e' && !System(name.Schema) {
			if b := other.TypeNames[name]; b != nil {
				d.value(DiffDefinition, name, "", strings.Join(a.Labels, ", "), strings.Join(b.Labels, ", "))
			} else {
				d.add(DiffMissing, name, "", "type", "")
			}
		}
	}
	slices.SortFunc(d.found, compareDifferences)
	return d.found
}

func compareDifferences(x, y Difference) int {
	return cmp.Or(cmp.Compare(x.Relation.Schema, y.Relation.Schema), cmp.Compare(x.Relation.Name, y.Relation.Name),
		cmp.Compare(x.Column, y.Column), cmp.Compare(x.Kind, y.Kind))
}

// locale is all that the order of the default collation depends on.
func (c *Catalog) locale() string {
	s := fmt.Sprintf("collate %s, ctype %s, provider %c", c.Collate, c.Ctype, c.LocaleProvider)
	if c.Locale != "" {
		s += ", locale " + c.Locale
	}
	if c.CollationVersion != "" {
		s += ", version " + c.CollationVersion
	}
	return s
}

type comparison struct {
	lead, other *Catalog
	shard       string
	found       []Difference
}

func (d *comparison) add(kind DifferenceKind, rel Name, column, lead, other string) {
	d.found = append(d.found, Difference{Shard: d.shard, Kind: kind, Relation: rel, Column: column, Lead: lead, Other: other})
}

func (d *comparison) value(kind DifferenceKind, rel Name, column, lead, other string) {
	if lead != other {
		d.add(kind, rel, column, lead, other)
	}
}

func (d *comparison) relation(a, b *Relation) {
	d.value(DiffKind, a.Name, "", kindName(a.Kind), kindName(b.Kind))
	d.value(DiffDefinition, a.Name, "", a.Definition, b.Definition)
	var order [2][]string
	for i := range a.Columns {
		col := &a.Columns[i]
		if twin := b.Column(col.Name); twin != nil {
			order[0] = append(order[0], col.Name)
			d.column(a.Name, col, twin)
		} else {
			d.add(DiffMissing, a.Name, col.Name, col.TypeName, "")
		}
	}
	for i := range b.Columns {
		col := &b.Columns[i]
		if a.Column(col.Name) != nil {
			order[1] = append(order[1], col.Name)
		} else {
			d.add(DiffExtra, a.Name, col.Name, "", col.TypeName)
		}
	}
	d.value(DiffOrder, a.Name, "", strings.Join(order[0], ", "), strings.Join(order[1], ", "))
}

func (d *comparison) column(rel Name, a, b *Column) {
	d.value(DiffType, rel, a.Name, a.TypeName, b.TypeName)
	d.value(DiffCollation, rel, a.Name, describeCollation(a), describeCollation(b))
	d.value(DiffNull, rel, a.Name, fmt.Sprint(a.NotNull), fmt.Sprint(b.NotNull))
	d.value(DiffGenerated, rel, a.Name, describeGeneration(a), describeGeneration(b))
	// Rows are described by the type below all domains.
	if a.TypeName == b.TypeName && a.Base != b.Base {
		d.add(DiffTypeOID, rel, a.Name, fmt.Sprint(a.Base), fmt.Sprint(b.Base))
	}
}

func describeCollation(c *Column) string {
	if c.Collation == "" {
		return ""
	}
	s := fmt.Sprintf("%s, provider %c", c.Collation, c.CollationProvider)
	if !c.CollationDeterministic {
		s += ", not deterministic"
	}
	return s
}

func describeGeneration(c *Column) string {
	switch {
	case c.Identity == 'a':
		return "identity always"
	case c.Identity == 'd':
		return "identity by default"
	case c.Generated == 's':
		return "stored"
	case c.Generated == 'v':
		return "virtual"
	}
	return ""
}

func kindName(kind byte) string {
	switch kind {
	case 'r':
		return "table"
	case 'p':
		return "partitioned table"
	case 'v':
		return "view"
	case 'm':
		return "materialized view"
	case 'f':
		return "foreign table"
	case 'S':
		return "sequence"
	case 'c':
		return "composite type"
	}
	return "relation"
}
