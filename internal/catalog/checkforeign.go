package catalog

import (
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/sqlparse"
)

// foreignKeys checks that the row that each foreign key refers to is on the same shard.
func (k *checker) foreignKeys(rel *Relation, p Placement) {
	for _, c := range rel.Constraints {
		if c.Kind != 'f' {
			continue
		}
		other, ok := k.place(c.Foreign)
		if why := apart(p, other, ok, c); why != "" {
			k.waivable(Problem{
				Code: ProblemForeignKey, Relation: rel.Name, Object: c.Name,
				Message: fmt.Sprintf("foreign key %s of table %s: %s", c.Name, rel.Name, why),
				Hint: fmt.Sprintf("Make %s a reference table, or let both tables carry one key and the foreign key have its columns, or drop it; or waive %q.",
					c.Foreign, c.Name),
			})
			continue
		}
		if p.Kind == Sharded && other.Kind == Sharded {
			k.foreignAction(rel, p, c)
		}
	}
}

// apart says why a row and the one that its foreign key refers to may be on different shards; "" if they may not.
func apart(p, other Placement, known bool, c Constraint) string {
	switch {
	case !known:
		return fmt.Sprintf("table %s is on no shard", c.Foreign)
	case other.Kind == Reference:
		return ""
	case p.Kind == Reference:
		return fmt.Sprintf("a reference table is on every shard, and the rows of %s are not", c.Foreign)
	case p.Kind == Single && other.Kind == Single:
		if p.Shard == other.Shard {
			return ""
		}
		return fmt.Sprintf("table %s is on another shard", c.Foreign)
	case p.Kind != other.Kind:
		return fmt.Sprintf("the rows of one table are on one shard, and those of %s are not", c.Foreign)
	case p.Key != other.Key:
		return fmt.Sprintf("table %s is spread by key %s, this one by key %s", c.Foreign, other.Key, p.Key)
	}
	for i, column := range p.Columns {
		at := slices.Index(c.Columns, column)
		if at < 0 || i >= len(other.Columns) || at >= len(c.ForeignColumns) || c.ForeignColumns[at] != other.Columns[i] {
			return fmt.Sprintf("it does not tie column %s, which carries key %s, to that of %s", column, p.Key, c.Foreign)
		}
	}
	return ""
}

// foreignAction looks at what a foreign key between co-located tables does to the key when the other row goes or changes.
func (k *checker) foreignAction(rel *Relation, p Placement, c Constraint) {
	set := c.SetColumns
	if set == nil {
		set = c.Columns
	}
	changes := slices.ContainsFunc(p.Columns, func(col string) bool { return slices.Contains(set, col) })
	var actions []string
	if changes && (c.OnDelete == 'n' || c.OnDelete == 'd') {
		actions = append(actions, "ON DELETE "+actionName(c.OnDelete))
	}
	if c.OnUpdate == 'c' || c.OnUpdate == 'n' || c.OnUpdate == 'd' {
		actions = append(actions, "ON UPDATE "+actionName(c.OnUpdate))
	}
	if len(actions) == 0 {
		return
	}
	k.waivable(Problem{
		Code: ProblemForeignAction, Relation: rel.Name, Object: c.Name,
		Message: fmt.Sprintf("foreign key %s of table %s has %s, which changes key %s of its rows behind the router's back",
			c.Name, rel.Name, strings.Join(actions, " and "), p.Key),
		Hint: fmt.Sprintf("Use NO ACTION, RESTRICT or ON DELETE CASCADE, or name the columns to set (PostgreSQL 15), or waive %q.", c.Name),
	})
}

func actionName(action byte) string {
	switch action {
	case 'c':
		return "CASCADE"
	case 'n':
		return "SET NULL"
	}
	return "SET DEFAULT"
}

// children checks that a table and its partitions or inheritance children are spread alike: a scan of the one reads the others.
func (k *checker) children(rel *Relation, p Placement) {
	for _, name := range rel.Children {
		child, ok := k.place(name)
		switch {
		case !ok && p.Kind == Sharded:
			k.waivable(Problem{
				Code: ProblemInheritance, Relation: rel.Name, Object: name.Name, Warning: true,
				Message: fmt.Sprintf("table %s has the child %s, which the shard map does not list: statements that name the child are refused", rel.Name, name),
				Hint:    "List it with the same key and columns.",
			})
		case ok && !sameSpread(p, child):
			k.add(Problem{
				Code: ProblemInheritance, Relation: rel.Name, Object: name.Name,
				Message: fmt.Sprintf("table %s and its child %s are spread differently, and a statement on the one reads the other", rel.Name, name),
				Hint:    "List both with the same key and columns, or both as reference tables.",
			})
		}
	}
	// A child that is spread while its parent is listed nowhere: the parent cannot be asked, so nothing can go wrong.
}

func sameSpread(a, b Placement) bool {
	return a.Kind == b.Kind && a.Key == b.Key && slices.Equal(a.Columns, b.Columns) && a.Shard == b.Shard
}

// difference makes a problem of a difference between shards, if it concerns a table that is on several of them.
func (k *checker) difference(d Difference) {
	if d.Harmless() {
		return
	}
	p := Problem{
		Code: ProblemDiffers, Relation: d.Relation, Object: d.Column, Message: d.String(),
		Hint: "Make the shards alike: the same schema, collations and major version.",
	}
	switch d.Kind {
	case DiffVersion, DiffSearchPath:
		p.Warning = true
	case DiffNull:
		p.Warning = true
	case DiffEncoding, DiffLocale:
	case DiffElsewhere:
		p.Hint = "Create it where the shard map puts it, or drop it where it is."
	case DiffEmpty:
		p.Code, p.Object = ProblemEmpty, d.Shard
		p.Hint = fmt.Sprintf("Copy its rows to shard %s, there directly, or by INSERT or COPY through pgdrover after SET pgdrover.shard = %s. It is in use again some seconds later.",
			d.Shard, sqlparse.QuoteLiteral(d.Shard))
		k.waivable(p)
		return
	default:
		if place, ok := k.place(d.Relation); !ok && k.cat.TypeNames[d.Relation] == nil || ok && place.Kind == Single {
			return
		}
	}
	if d.Kind == DiffLocale {
		p.Waiver = d.Shard + ".locale" // libc of another release often sorts the same
	}
	k.add(p)
}
