package shard

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v5"

	"pgdrover/internal/catalog"
)

// ddl handles definitions, privileges and maintenance: on every shard, or on the one that has the table.
func (a *analysis) ddl(n *pg.Node, sh *shape) {
	switch s := n.GetNode().(type) {
	case *pg.Node_CreateStmt:
		a.createTable(s.CreateStmt, sh)
	case *pg.Node_AlterTableStmt:
		a.alterTable(s.AlterTableStmt, sh)
	case *pg.Node_IndexStmt:
		a.createIndex(s.IndexStmt, sh)
	case *pg.Node_DropStmt:
		a.drop(s.DropStmt, sh)
	case *pg.Node_RenameStmt:
		a.rename(s.RenameStmt, sh)
	case *pg.Node_AlterObjectSchemaStmt:
		if v := s.AlterObjectSchemaStmt.GetRelation(); v != nil {
			if a.listed(v) {
				sh.refused(refuse(RefuseKeySchema, "ALTER … SET SCHEMA"))
				return
			}
			a.tablesCommand(sh, "ALTER", []*pg.RangeVar{v}, false)
			return
		}
		a.everywhere(sh, false)
	case *pg.Node_CreateTableAsStmt:
		what := "CREATE TABLE AS"
		if s.CreateTableAsStmt.GetObjtype() == pg.ObjectType_OBJECT_MATVIEW {
			what = "CREATE MATERIALIZED VIEW"
		}
		sh.refused(refuse(RefuseCreateAs, what))
	case *pg.Node_RefreshMatViewStmt:
		sh.refused(refuse(RefuseCreateAs, "REFRESH MATERIALIZED VIEW"))
	case *pg.Node_CreateSeqStmt:
		a.tablesCommand(sh, "CREATE SEQUENCE", []*pg.RangeVar{s.CreateSeqStmt.GetSequence()}, false)
	case *pg.Node_AlterSeqStmt:
		a.tablesCommand(sh, "ALTER SEQUENCE", []*pg.RangeVar{s.AlterSeqStmt.GetSequence()}, false)
	case *pg.Node_CreateTrigStmt:
		a.tablesCommand(sh, "CREATE TRIGGER", []*pg.RangeVar{s.CreateTrigStmt.GetRelation()}, false)
	case *pg.Node_RuleStmt:
		a.tablesCommand(sh, "CREATE RULE", []*pg.RangeVar{s.RuleStmt.GetRelation()}, false)
	case *pg.Node_CreatePolicyStmt:
		a.tablesCommand(sh, "CREATE POLICY", []*pg.RangeVar{s.CreatePolicyStmt.GetTable()}, false)
	case *pg.Node_AlterPolicyStmt:
		a.tablesCommand(sh, "ALTER POLICY", []*pg.RangeVar{s.AlterPolicyStmt.GetTable()}, false)
	case *pg.Node_CreateStatsStmt:
		a.relationsCommand(sh, "CREATE STATISTICS", s.CreateStatsStmt.GetRelations(), false)
	case *pg.Node_ViewStmt:
		if s.ViewStmt.GetView().GetRelpersistence() == "t" {
			sh.refused(refuse(RefuseTemporary, s.ViewStmt.GetView().GetRelname()))
			return
		}
		a.tablesCommand(sh, "CREATE VIEW", []*pg.RangeVar{s.ViewStmt.GetView()}, false)
	case *pg.Node_VacuumStmt:
		a.vacuum(s.VacuumStmt, sh)
	case *pg.Node_ClusterStmt:
		if v := s.ClusterStmt.GetRelation(); v != nil {
			a.tablesCommand(sh, "CLUSTER", []*pg.RangeVar{v}, false)
			return
		}
		a.everywhere(sh, true)
	case *pg.Node_ReindexStmt:
		a.reindex(s.ReindexStmt, sh)
	case *pg.Node_GrantStmt:
		a.grant(s.GrantStmt, sh)
	case *pg.Node_CommentStmt:
		a.objectCommand(sh, "COMMENT", s.CommentStmt.GetObjtype(), s.CommentStmt.GetObject())
	case *pg.Node_SecLabelStmt:
		a.objectCommand(sh, "SECURITY LABEL", s.SecLabelStmt.GetObjtype(), s.SecLabelStmt.GetObject())
	case *pg.Node_CreateFunctionStmt, *pg.Node_AlterFunctionStmt, *pg.Node_CreateSchemaStmt, *pg.Node_CreateEnumStmt, *pg.Node_AlterEnumStmt,
		*pg.Node_CreateDomainStmt, *pg.Node_AlterDomainStmt, *pg.Node_CompositeTypeStmt, *pg.Node_CreateRangeStmt, *pg.Node_AlterTypeStmt,
		*pg.Node_DefineStmt, *pg.Node_CreateExtensionStmt, *pg.Node_AlterExtensionStmt, *pg.Node_AlterExtensionContentsStmt, *pg.Node_CreateCastStmt,
		*pg.Node_CreateOpClassStmt, *pg.Node_CreateOpFamilyStmt, *pg.Node_AlterOpFamilyStmt, *pg.Node_AlterOperatorStmt, *pg.Node_CreateConversionStmt,
		*pg.Node_CreateTransformStmt, *pg.Node_AlterCollationStmt, *pg.Node_AlterTsdictionaryStmt, *pg.Node_AlterTsconfigurationStmt,
		*pg.Node_AlterOwnerStmt, *pg.Node_AlterObjectDependsStmt, *pg.Node_AlterStatsStmt, *pg.Node_GrantRoleStmt,
		*pg.Node_AlterDefaultPrivilegesStmt, *pg.Node_CreateRoleStmt, *pg.Node_AlterRoleStmt, *pg.Node_AlterRoleSetStmt, *pg.Node_DropRoleStmt,
		*pg.Node_DropOwnedStmt, *pg.Node_ReassignOwnedStmt, *pg.Node_CreatePublicationStmt, *pg.Node_AlterPublicationStmt, *pg.Node_CreatePlangStmt,
		*pg.Node_CreateEventTrigStmt, *pg.Node_AlterEventTrigStmt, *pg.Node_CreateAmStmt:
		a.everywhere(sh, false)
	case *pg.Node_CheckPointStmt:
		a.everywhere(sh, false)
	case *pg.Node_CreatedbStmt, *pg.Node_DropdbStmt, *pg.Node_AlterDatabaseStmt, *pg.Node_AlterDatabaseSetStmt, *pg.Node_AlterDatabaseRefreshCollStmt,
		*pg.Node_AlterSystemStmt, *pg.Node_CreateTableSpaceStmt, *pg.Node_DropTableSpaceStmt, *pg.Node_AlterTableSpaceOptionsStmt,
		*pg.Node_AlterTableMoveAllStmt, *pg.Node_LoadStmt, *pg.Node_CreateSubscriptionStmt, *pg.Node_AlterSubscriptionStmt, *pg.Node_DropSubscriptionStmt,
		*pg.Node_CreateFdwStmt, *pg.Node_AlterFdwStmt, *pg.Node_CreateForeignServerStmt, *pg.Node_AlterForeignServerStmt,
		*pg.Node_CreateForeignTableStmt, *pg.Node_CreateUserMappingStmt, *pg.Node_AlterUserMappingStmt, *pg.Node_DropUserMappingStmt,
		*pg.Node_ImportForeignSchemaStmt:
		sh.plan.NoTx = true
		sh.refused(refuse(RefuseUtility, "this command"))
	default:
		sh.refused(refuse(RefuseNode, "this statement"))
	}
}

// listed says whether a table has an entry of its own in the map.
func (a *analysis) listed(v *pg.RangeVar) bool { return a.listedTable(v) != nil }

func (a *analysis) listedTable(v *pg.RangeVar) *Table {
	schema := v.GetSchemaname()
	if r := a.findRelation(schema, v.GetRelname()); r != nil {
		schema = r.Schema
	} else if schema == "" {
		schema = a.creationSchema()
	}
	if t := a.m.Table(schema, v.GetRelname()); t != nil && t.Kind != Single {
		return t
	}
	return nil
}

// createTable handles CREATE TABLE. A sharded table's unique constraints must contain its key.
func (a *analysis) createTable(s *pg.CreateStmt, sh *shape) {
	v := s.GetRelation()
	if v.GetRelpersistence() == "t" || v.GetSchemaname() == "pg_temp" {
		sh.refused(refuse(RefuseTemporary, v.GetRelname()))
		return
	}
	if t := a.listedTable(v); t != nil && t.Kind == Sharded {
		for _, e := range s.GetTableElts() {
			var own string
			list := []*pg.Node{e}
			if c := e.GetColumnDef(); c != nil {
				own, list = c.GetColname(), c.GetConstraints()
			}
			for _, n := range list {
				if c := n.GetConstraint(); c != nil && !uniqueHasKey(c, own, t) {
					sh.refused(refuse(RefuseUnique, t.Name))
					return
				}
			}
		}
	}
	a.tablesCommand(sh, "CREATE TABLE", []*pg.RangeVar{v}, false)
}

// uniqueHasKey says whether a constraint is none that must be unique over all rows, or contains the key.
func uniqueHasKey(c *pg.Constraint, column string, t *Table) bool {
	switch c.GetContype() {
	case pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE:
		if c.GetIndexname() != "" {
			return true // the index exists already
		}
		columns, _ := names(c.GetKeys())
		if column != "" {
			columns = []string{column}
		}
		return containsAll(columns, t.Columns)
	case pg.ConstrType_CONSTR_EXCLUSION:
		return false
	}
	return true
}

// alterTable handles ALTER TABLE. Columns that carry a key stay as they are.
func (a *analysis) alterTable(s *pg.AlterTableStmt, sh *shape) {
	v := s.GetRelation()
	if s.GetObjtype() == pg.ObjectType_OBJECT_INDEX {
		a.indexesCommand(sh, "ALTER INDEX", []*pg.RangeVar{v}, false)
		return
	}
	t := a.listedTable(v)
	for _, n := range s.GetCmds() {
		c := n.GetAlterTableCmd()
		if c == nil {
			sh.refused(refuse(RefuseNode, "this form of ALTER"))
			return
		}
		switch c.GetSubtype() {
		case pg.AlterTableType_AT_DropColumn, pg.AlterTableType_AT_AlterColumnType:
			if t != nil && slices.Contains(t.Columns, c.GetName()) {
				sh.refused(refuse(RefuseKeySchema, "ALTER of key column "+c.GetName()))
				return
			}
		case pg.AlterTableType_AT_AddConstraint:
			if k := c.GetDef().GetConstraint(); t != nil && t.Kind == Sharded && k != nil && !uniqueHasKey(k, "", t) {
				sh.refused(refuse(RefuseUnique, t.Name))
				return
			}
		case pg.AlterTableType_AT_AddColumn:
			if t == nil || t.Kind != Sharded {
				continue
			}
			col := c.GetDef().GetColumnDef()
			for _, k := range col.GetConstraints() {
				if !uniqueHasKey(k.GetConstraint(), col.GetColname(), t) {
					sh.refused(refuse(RefuseUnique, t.Name))
					return
				}
			}
		case pg.AlterTableType_AT_AttachPartition, pg.AlterTableType_AT_DetachPartition, pg.AlterTableType_AT_AddInherit, pg.AlterTableType_AT_DropInherit:
		}
	}
	noTx := strings.Contains(strings.ToLower(string(a.source)), "concurrently") // DETACH PARTITION … CONCURRENTLY
	a.tablesCommand(sh, "ALTER TABLE", []*pg.RangeVar{v}, noTx)
}

func (a *analysis) createIndex(s *pg.IndexStmt, sh *shape) {
	t := a.listedTable(s.GetRelation())
	if t != nil && t.Kind == Sharded && (s.GetUnique() || len(s.GetExcludeOpNames()) > 0) {
		var columns []string
		for _, n := range s.GetIndexParams() {
			columns = append(columns, n.GetIndexElem().GetName())
		}
		if !containsAll(columns, t.Columns) || len(s.GetExcludeOpNames()) > 0 {
			sh.refused(refuse(RefuseUnique, t.Name))
			return
		}
	}
	a.tablesCommand(sh, "CREATE INDEX", []*pg.RangeVar{s.GetRelation()}, s.GetConcurrent())
}

// rename handles ALTER … RENAME: what the map names keeps its name.
func (a *analysis) rename(s *pg.RenameStmt, sh *shape) {
	v := s.GetRelation()
	if v == nil {
		a.everywhere(sh, false)
		return
	}
	t := a.listedTable(v)
	switch {
	case s.GetRenameType() == pg.ObjectType_OBJECT_INDEX:
		a.indexesCommand(sh, "ALTER INDEX", []*pg.RangeVar{v}, false)
	case t != nil && s.GetRenameType() == pg.ObjectType_OBJECT_TABLE:
		sh.refused(refuse(RefuseKeySchema, "ALTER TABLE … RENAME"))
	case t != nil && s.GetRenameType() == pg.ObjectType_OBJECT_COLUMN && slices.Contains(t.Columns, s.GetSubname()):
		sh.refused(refuse(RefuseKeySchema, "RENAME of key column "+s.GetSubname()))
	default:
		a.tablesCommand(sh, "ALTER … RENAME", []*pg.RangeVar{v}, false)
	}
}

func (a *analysis) drop(s *pg.DropStmt, sh *shape) {
	switch s.GetRemoveType() {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_SEQUENCE, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_FOREIGN_TABLE:
		a.tablesCommand(sh, "DROP", rangesOf(s.GetObjects()), false)
	case pg.ObjectType_OBJECT_INDEX:
		a.indexesCommand(sh, "DROP INDEX", rangesOf(s.GetObjects()), s.GetConcurrent())
	case pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_RULE, pg.ObjectType_OBJECT_POLICY:
		var vars []*pg.RangeVar
		for _, n := range s.GetObjects() {
			if items := n.GetList().GetItems(); len(items) > 1 {
				vars = append(vars, rangeOf(items[:len(items)-1]))
			}
		}
		a.tablesCommand(sh, "DROP", vars, false)
	case pg.ObjectType_OBJECT_FDW, pg.ObjectType_OBJECT_FOREIGN_SERVER:
		sh.refused(refuse(RefuseUtility, "this command"))
	default:
		a.everywhere(sh, false)
	}
}

// indexesCommand handles a command about indexes, which are where their tables are. One that is not known is asked for everywhere: servers say best
// that it does not exist.
func (a *analysis) indexesCommand(sh *shape, what string, indexes []*pg.RangeVar, noTx bool) {
	var tables []*pg.RangeVar
	for _, v := range indexes {
		table, ok := a.tableOfIndex(v)
		switch {
		case !ok:
			continue
		case table.Name == "":
			sh.plan.NoTx = noTx
			sh.refused(refuse(RefuseMixedDDL, what+" of indexes that have the same name"))
			return
		}
		tables = append(tables, &pg.RangeVar{Schemaname: table.Schema, Relname: table.Name})
	}
	if len(tables) < len(indexes) {
		a.everywhere(sh, noTx)
		return
	}
	a.tablesCommand(sh, what, tables, noTx)
}

// tableOfIndex finds the table of an index.
func (a *analysis) tableOfIndex(v *pg.RangeVar) (table catalog.Name, ok bool) {
	path := a.path
	if s := v.GetSchemaname(); s != "" {
		path = []string{s}
	}
	for _, s := range path {
		if table, ok = a.cat.Indexes[catalog.Name{Schema: s, Name: v.GetRelname()}]; ok {
			break
		}
	}
	return table, ok
}

// rangesOf makes names of lists of their parts.
func rangesOf(objects []*pg.Node) []*pg.RangeVar {
	var vars []*pg.RangeVar
	for _, n := range objects {
		vars = append(vars, rangeOf(n.GetList().GetItems()))
	}
	return vars
}

// rangeOf makes a table name of its parts; nil if there are too many.
func rangeOf(items []*pg.Node) *pg.RangeVar {
	parts, ok := names(items)
	switch {
	case ok && len(parts) == 1:
		return &pg.RangeVar{Relname: parts[0]}
	case ok && len(parts) == 2:
		return &pg.RangeVar{Schemaname: parts[0], Relname: parts[1]}
	}
	return nil
}

// vacuum handles VACUUM and ANALYZE.
func (a *analysis) vacuum(s *pg.VacuumStmt, sh *shape) {
	var vars []*pg.RangeVar
	for _, n := range s.GetRels() {
		vars = append(vars, n.GetVacuumRelation().GetRelation())
	}
	what := "ANALYZE"
	if s.GetIsVacuumcmd() {
		what = "VACUUM"
	}
	a.tablesCommand(sh, what, vars, s.GetIsVacuumcmd())
}

func (a *analysis) reindex(s *pg.ReindexStmt, sh *shape) {
	noTx := false
	for _, n := range s.GetParams() {
		noTx = noTx || n.GetDefElem().GetDefname() == "concurrently"
	}
	switch s.GetKind() {
	case pg.ReindexObjectType_REINDEX_OBJECT_TABLE:
		a.tablesCommand(sh, "REINDEX", []*pg.RangeVar{s.GetRelation()}, noTx)
	case pg.ReindexObjectType_REINDEX_OBJECT_SCHEMA:
		a.everywhere(sh, true)
	case pg.ReindexObjectType_REINDEX_OBJECT_INDEX:
		a.indexesCommand(sh, "REINDEX", []*pg.RangeVar{s.GetRelation()}, noTx)
	default:
		sh.plan.NoTx = true
		sh.refused(refuse(RefuseUtility, "REINDEX of a database"))
	}
}

func (a *analysis) grant(s *pg.GrantStmt, sh *shape) {
	switch s.GetObjtype() {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_SEQUENCE:
		if s.GetTargtype() == pg.GrantTargetType_ACL_TARGET_OBJECT {
			a.relationsCommand(sh, "GRANT", s.GetObjects(), false)
			return
		}
	case pg.ObjectType_OBJECT_DATABASE, pg.ObjectType_OBJECT_TABLESPACE:
		sh.refused(refuse(RefuseUtility, "GRANT on a database or tablespace"))
		return
	}
	a.everywhere(sh, false)
}

// objectCommand handles a command about one object, whose name is a list in the tree; behind a table's name there may be that of a part.
func (a *analysis) objectCommand(sh *shape, what string, kind pg.ObjectType, object *pg.Node) {
	items := object.GetList().GetItems()
	switch kind {
	case pg.ObjectType_OBJECT_COLUMN, pg.ObjectType_OBJECT_TABCONSTRAINT, pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_RULE, pg.ObjectType_OBJECT_POLICY:
		if len(items) > 0 {
			items = items[:len(items)-1]
		}
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_SEQUENCE:
	case pg.ObjectType_OBJECT_INDEX:
		a.indexesCommand(sh, what, []*pg.RangeVar{rangeOf(items)}, false)
		return
	case pg.ObjectType_OBJECT_DATABASE, pg.ObjectType_OBJECT_TABLESPACE:
		sh.refused(refuse(RefuseUtility, what))
		return
	default:
		a.everywhere(sh, false)
		return
	}
	a.tablesCommand(sh, what, []*pg.RangeVar{rangeOf(items)}, false)
}
