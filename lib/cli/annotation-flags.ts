// Flags of commands that read things and places in pictures.
import type { Command } from "commander";

export interface AnnotationFlags {
  annotations?: string;
  images?: string;
  beside?: string;
  split?: string;
}

export const annotationFlags = (command: Command): Command =>
  command
    .option("--annotations <file>", "things and places: COCO's or Objects365's JSON, RefCOCO's refs as JSON, Visual Genome's objects.json")
    .option("--images <folder>", "where their pictures lie (default: beside the annotations)")
    .option("--beside <file>", "Visual Genome: image_data.json; RefCOCO: instances.json")
    .option("--split <name>", "RefCOCO: only this split");
