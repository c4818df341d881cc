package shard

import (
	"fmt"

	"pgdrover/internal/catalog"
)

// Refuse has the statements refused that use a table with one of the problems; a problem of no table concerns all of them.
// Warnings are left out. It must be called before the first statement is planned.
func (db *DB) Refuse(problems []catalog.Problem) {
	db.problems = map[catalog.Name]*Error{}
	for _, p := range problems {
		if p.Warning || db.problems[p.Relation] != nil {
			continue
		}
		e := &Error{Code: codeNotSupported, Message: p.Message, Hint: p.Hint, Construct: RefuseMap}
		e.Detail = fmt.Sprintf("It was found when the catalogs of the shards were compared with the shard map (%s).", p.Code)
		if p.Waiver != "" {
			e.Hint += fmt.Sprintf(" Or accept it: waive = [%q].", p.Waiver)
		}
		db.problems[p.Relation] = e
	}
}

// problem returns why statements on a table are refused, nil if they are not.
func (db *DB) problem(name catalog.Name) *Error {
	if e := db.problems[catalog.Name{}]; e != nil {
		return e
	}
	return db.problems[name]
}
