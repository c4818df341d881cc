package catalog

import "strings"

// loader builds a Catalog from rows, which come in the order of load's steps.
type loader struct {
	c         *Catalog
	err       error
	strings   map[string]string
	schemas   map[uint32]string
	relations map[uint32]*Relation
	operators map[uint32]Name
	locales   map[uint32]collation
	defaults  map[*Relation][]expression // by the column's index, as far as needed
	checks    map[*Relation][]expression
}

// collation is a row of pg_collation.
type collation struct {
	name          string
	provider      byte
	deterministic bool
}

func newLoader() *loader {
	return &loader{
		c: &Catalog{
			Schemas: map[string]bool{}, Relations: map[Name]*Relation{}, Indexes: map[Name]Name{}, Functions: map[Name][]*Function{}, Types: map[uint32]*Type{},
			TypeNames: map[Name]*Type{}, Operators: map[string][]*Operator{}, rolePaths: map[string]string{}, byOID: map[uint32]*Function{},
		},
		strings: map[string]string{}, schemas: map[uint32]string{}, relations: map[uint32]*Relation{}, operators: map[uint32]Name{},
		locales: map[uint32]collation{}, defaults: map[*Relation][]expression{}, checks: map[*Relation][]expression{},
	}
}

func (l *loader) database(r row) {
	c := l.c
	c.Version, c.Encoding, c.SearchPath = r.number(0), r.text(1), r.text(2)
	switch r.text(4) {
	case "user", "database user", "client":
		c.SearchPath = r.text(3) // this session's own, which says nothing of others
	}
	c.Collate, c.Ctype, c.LocaleProvider, c.Locale, c.CollationVersion = r.text(5), r.text(6), r.char(7), r.text(8), r.text(9)
	if c.LocaleProvider == 0 {
		c.LocaleProvider = 'c' // before PostgreSQL 15
	}
}

func (l *loader) rolePath(r row) {
	_, path, _ := strings.Cut(r.text(1), "=")
	if role := r.text(0); role != "" {
		l.c.rolePaths[role] = path
	} else {
		l.c.SearchPath = path
	}
}

func (l *loader) schema(r row) {
	l.schemas[r.oid(0)] = r.text(1)
	l.c.Schemas[r.text(1)] = true
}

func (l *loader) readType(r row) {
	schema, ok := l.schemas[r.oid(1)]
	if !ok {
		return // temporary
	}
	t := &Type{
		Name: Name{schema, r.text(2)}, OID: r.oid(0), Kind: r.char(3), direct: r.oid(4), Element: r.oid(5), Array: r.oid(6), Category: r.char(7),
		Default: r.text(8), defaults: readExpression(r.text(9)),
	}
	l.c.Types[t.OID], l.c.TypeNames[t.Name] = t, t
}

func (l *loader) enum(r row) {
	if t := l.c.Types[r.oid(0)]; t != nil {
		t.Labels = append(t.Labels, r.text(1))
	}
}

func (l *loader) domainCheck(r row) {
	if t := l.c.Types[r.oid(0)]; t != nil {
		e := readExpression(r.text(1))
		t.check.functions = append(t.check.functions, e.functions...)
	}
}

func (l *loader) function(r row) {
	schema, ok := l.schemas[r.oid(1)]
	if !ok {
		return
	}
	f := &Function{
		Name: Name{schema, r.text(2)}, OID: r.oid(0), Args: r.numbers(3), Defaults: r.number(4), Variadic: r.bool(5), Returns: r.oid(6),
		Set: r.bool(7), Kind: r.char(8), Volatility: r.char(9), Language: r.text(10), Extension: r.text(11),
	}
	f.classify()
	l.c.Functions[f.Name] = append(l.c.Functions[f.Name], f)
	l.c.byOID[f.OID] = f
}

func (l *loader) operator(r row) {
	schema, ok := l.schemas[r.oid(1)]
	if !ok {
		return
	}
	o := &Operator{Name: Name{schema, r.text(2)}, Left: r.oid(3), Right: r.oid(4), Result: r.oid(5), Function: r.oid(6)}
	l.operators[r.oid(0)] = o.Name
	if r.bool(7) {
		l.c.Operators[o.Name.Name] = append(l.c.Operators[o.Name.Name], o)
	}
}

func (l *loader) cast(r row) {
	l.c.Casts = append(l.c.Casts, Cast{Source: r.oid(0), Target: r.oid(1), Function: r.oid(2), Context: r.char(3)})
}

func (l *loader) collation(r row) {
	k := collation{name: r.text(2), provider: r.char(3), deterministic: r.bool(4)}
	if schema := l.schemas[r.oid(1)]; schema != "pg_catalog" {
		k.name = quoteName(Name{schema, k.name})
	}
	if k.provider == 'd' {
		k.provider = l.c.LocaleProvider
	}
	l.locales[r.oid(0)] = k
}

func (l *loader) relation(r row) {
	schema, ok := l.schemas[r.oid(1)]
	if !ok {
		return
	}
	rel := &Relation{
		Name: Name{schema, r.text(2)}, OID: r.oid(0), Kind: r.char(3), Persistence: r.char(4), Owner: r.text(5), RowSecurity: r.bool(6),
		Definition: r.text(7), PartitionKey: r.text(8),
	}
	l.relations[rel.OID], l.c.Relations[rel.Name] = rel, rel
}

func (l *loader) column(r row) {
	rel := l.relations[r.oid(0)]
	if rel == nil {
		return
	}
	col := Column{
		Number: r.number(1), Name: r.text(2), Type: r.oid(3), Typmod: int32(r.number(4)), NotNull: r.bool(5), Identity: r.char(6),
		Generated: r.char(7), TypeName: r.text(9), Default: r.text(10),
	}
	if k, ok := l.locales[r.oid(8)]; ok {
		col.Collation, col.CollationProvider, col.CollationDeterministic = k.name, k.provider, k.deterministic
	}
	if !r.null(11) {
		list := l.defaults[rel]
		for len(list) < len(rel.Columns) {
			list = append(list, expression{})
		}
		l.defaults[rel] = append(list, readExpression(r.text(11)))
	}
	rel.Columns = append(rel.Columns, col)
}

func (l *loader) inherit(r row) {
	child, parent := l.relations[r.oid(0)], l.relations[r.oid(1)]
	if child == nil || parent == nil {
		return // of indexes, or temporary
	}
	if child.Parent == nil {
		child.Parent = &parent.Name
	}
	parent.Children = append(parent.Children, child.Name)
}

func (l *loader) trigger(r row) {
	if rel := l.relations[r.oid(0)]; rel != nil {
		t := Trigger{Name: r.text(1), Enabled: r.char(3)}
		if f := l.c.byOID[r.oid(2)]; f != nil {
			t.Function = f.Name
		}
		rel.Triggers = append(rel.Triggers, t)
	}
}

func (l *loader) rule(r row) {
	if rel := l.relations[r.oid(0)]; rel != nil {
		rel.Rules = append(rel.Rules, r.text(1))
	}
}

func (l *loader) constraint(r row) {
	rel := l.relations[r.oid(0)]
	if rel == nil {
		return
	}
	k := Constraint{Name: r.text(1), Kind: r.char(2), Columns: rel.columnNames(r.numbers(3)), Exact: true, Deferrable: r.bool(4)}
	if k.Kind == 'c' {
		l.checks[rel] = append(l.checks[rel], readExpression(r.text(10)))
	} else {
		other := l.relations[r.oid(5)]
		if other == nil {
			l.fail("foreign key %s refers to an unknown table", k.Name)
			return
		}
		k.Foreign, k.ForeignColumns = other.Name, other.columnNames(r.numbers(6))
		k.OnDelete, k.OnUpdate, k.SetColumns = r.char(7), r.char(8), rel.columnNames(r.numbers(9))
	}
	rel.Constraints = append(rel.Constraints, k)
}

func (l *loader) indexTable(r row) {
	schema, ok := l.schemas[r.oid(0)]
	if rel := l.relations[r.oid(2)]; ok && rel != nil {
		l.c.Indexes[Name{schema, r.text(1)}] = rel.Name
	}
}

func (l *loader) index(r row) {
	rel := l.relations[r.oid(0)]
	if rel == nil {
		return
	}
	k := Constraint{Name: r.text(1), Kind: r.char(2), Exact: r.bool(5), Deferrable: r.bool(8)}
	numbers, collations, operators := r.numbers(3), r.numbers(6), r.numbers(7)
	for i, n := range numbers[:min(r.number(4), len(numbers))] {
		name := rel.columnNames([]uint32{n})
		if len(name) == 0 {
			continue // an expression
		}
		k.Columns = append(k.Columns, name[0])
		loose := i < len(operators) && l.operators[operators[i]] != Name{"pg_catalog", "="}
		if i < len(collations) {
			if c, ok := l.locales[collations[i]]; ok && !c.deterministic {
				loose = true
			}
		}
		if loose {
			k.Loose = append(k.Loose, name[0])
		}
	}
	rel.Constraints = append(rel.Constraints, k)
}

// columnNames returns the names of the columns with these numbers; those without a column are left out.
func (r *Relation) columnNames(numbers []uint32) []string {
	var names []string
	for _, n := range numbers {
		for i := range r.Columns {
			if r.Columns[i].Number == int(n) {
				names = append(names, r.Columns[i].Name)
			}
		}
	}
	return names
}

// finish derives what depends on several rows.
func (l *loader) finish() {
	for _, t := range l.c.Types {
		if t.Kind != 'd' {
			continue
		}
		t.Base = l.c.baseType(t.OID)
		for d := t; d != nil && d.Kind == 'd'; d = l.c.Types[d.direct] {
			if _, reaches, _ := d.check.judge(l.c); reaches {
				t.CheckReaches = true
			}
		}
	}
	for _, rel := range l.c.Relations {
		for i := range rel.Columns {
			l.finishColumn(rel, i)
		}
		for _, e := range l.checks[rel] {
			if _, reaches, _ := e.judge(l.c); reaches {
				rel.CheckReaches = true
			}
		}
	}
}

func (l *loader) finishColumn(rel *Relation, i int) {
	col := &rel.Columns[i]
	col.Base = l.c.baseType(col.Type)
	t := l.c.Types[col.Type]
	col.DomainReaches = t != nil && t.CheckReaches
	if exprs := l.defaults[rel]; i < len(exprs) && col.Default != "" {
		col.DefaultVolatile, col.DefaultReaches, col.DefaultSequence = exprs[i].judge(l.c)
		return
	}
	for t != nil && t.Kind == 'd' {
		if t.Default != "" {
			col.Default = t.Default
			col.DefaultVolatile, col.DefaultReaches, col.DefaultSequence = t.defaults.judge(l.c)
			return
		}
		t = l.c.Types[t.direct]
	}
}

// baseType returns the type below all domains.
func (c *Catalog) baseType(oid uint32) uint32 {
	for t := c.Types[oid]; t != nil && t.Kind == 'd'; t = c.Types[oid] {
		oid = t.direct
	}
	return oid
}
