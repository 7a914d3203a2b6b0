-- What the service's database user has to be allowed to do, and no more. ZoneMinder's own user may do all of it already; this is for a user
-- of its own. As an administrator, with a password of your choice:
--
--   CREATE USER zmnext@localhost IDENTIFIED BY '...';
--   mariadb --force zm < grants.sql
--
-- and then [database] url = "mysql://zmnext:...@localhost/zm". Tables that your ZoneMinder does not have are reported and skipped (that is
-- what --force is for). "zmnextctl doctor" tells what is missing.

-- What cameras there are, and how ZoneMinder is set up.
GRANT SELECT ON Config TO zmnext@localhost;
GRANT SELECT ON Servers TO zmnext@localhost;
GRANT SELECT ON Monitors TO zmnext@localhost;
GRANT SELECT ON Zones TO zmnext@localhost;
GRANT SELECT ON States TO zmnext@localhost;
GRANT SELECT, UPDATE (DiskSpace) ON Storage TO zmnext@localhost;

-- Events and what belongs to them. Rows of Frames are replaced where a clip turns out to have other frames than were counted.
GRANT SELECT, INSERT, UPDATE ON Events TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE, DELETE ON Frames TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Events_Hour TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Events_Day TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Events_Week TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Events_Month TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Event_Summaries TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Monitor_Status TO zmnext@localhost;

-- Newer than 1.36.
GRANT SELECT, INSERT, UPDATE ON Tags TO zmnext@localhost;
GRANT SELECT, INSERT ON Events_Tags TO zmnext@localhost;
GRANT SELECT, INSERT, UPDATE ON Event_Data TO zmnext@localhost;

-- Where pipelines are stored in the database.
GRANT SELECT ON monitor_pipeline TO zmnext@localhost;

-- With [legacy] set_none = true only: the second one for 1.36.
-- GRANT UPDATE (Capturing) ON Monitors TO zmnext@localhost;
-- GRANT UPDATE (`Function`) ON Monitors TO zmnext@localhost;
